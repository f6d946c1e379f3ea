"""`cmw-agent cleanup` deletes what agents remember of conversations that are gone, where it reaches it."""

from pathlib import Path

import pytest

from memory.engine.database import migrate, open_database
from memory.threads import StoredThread, ThreadStore
from tests.unit.test_commands import Done, run

APP = """
from pathlib import Path
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from cmw_agent import Agent, create_app

class Saver(BaseCheckpointSaver):
    async def adelete_thread(self, thread_id):
        if thread_id == "away":
            raise ConnectionError("a secret address")
        with Path("deleted.txt").open("a") as file:
            file.write(thread_id)

def compiled(saver):
    graph = StateGraph(MessagesState)
    graph.add_node("node", lambda state: state)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile(checkpointer=saver)

graph, passing = compiled(Saver()), compiled(InMemorySaver())
"""
# In a module of its own: the agents of a file are loaded without an app.
MADE = """
from cmw_agent import Agent, create_app
from my_graphs import graph, passing
app = create_app([Agent(id="keeping", graph=graph), Agent(id="passing", graph=passing)])
"""
FILE = '[[agents]]\nid = "keeping"\ngraph = "my_graphs:graph"\n'
QUIET = {"CMW_LOG_LEVEL": "ERROR"}


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Return a folder with an app and a database, in which threads are left of two conversations."""
    (tmp_path / "my_graphs.py").write_text(APP)
    (tmp_path / "my_app.py").write_text(MADE)
    database = open_database(f"sqlite:///{tmp_path / 'chat.db'}")
    await migrate(database)
    store = ThreadStore(database)
    for agent in ("keeping", "passing"):
        await store.keep("alice", f"with-{agent}", StoredThread(agent, f"hers-{agent}"))
    await database.dispose()
    return tmp_path


async def left(folder: Path) -> dict[str, int]:
    """Return how many threads the database knows of each agent, all of conversations that are gone."""
    database = open_database(f"sqlite:///{folder / 'chat.db'}")
    try:
        return await ThreadStore(database).orphaned_counts()
    finally:
        await database.dispose()


def lines(done: Done) -> list[str]:
    """Return what was said of threads, below the four lines on conversations."""
    assert (done.code, done.err) == (0, ""), done
    return [" ".join(line.split()) for line in done.out.splitlines()[4:]]


async def test_the_named_app_s_agents_forget_what_other_processes_reach(folder: Path) -> None:
    dry = await run(folder, "cleanup", "my_app:app", "--dry-run", **QUIET)
    said = lines(dry)
    assert said[0] == "1 threads of agents, of conversations that are gone, would be deleted"
    assert await left(folder) == {"keeping": 1, "passing": 1}
    done = lines(await run(folder, "cleanup", "my_app:app", **QUIET))
    assert done[0] == "1 threads of agents, of conversations that are gone, were deleted"
    # What is in the memory of the process that serves is nothing to this one.
    assert done[1:] == ["1 of them cannot be reached from here: the app that runs deletes them"]
    assert (folder / "deleted.txt").read_text() == "hers-keeping"
    assert await left(folder) == {"passing": 1}


async def test_without_an_app_those_of_the_file_of_agents_forget(folder: Path) -> None:
    (folder / "agents.toml").write_text(FILE)
    said = lines(await run(folder, "cleanup", **QUIET))
    assert said[0] == "1 threads of agents, of conversations that are gone, were deleted"
    assert said[1].endswith("name the app, as in python -m cmw_agent cleanup my_app:app")
    assert await left(folder) == {"passing": 1}


async def test_what_cannot_be_reached_is_said_and_kept_for_later(folder: Path) -> None:
    said = lines(await run(folder, "cleanup", **QUIET))
    assert said[0].startswith("0 threads")
    assert said[1].startswith("2 of them cannot be reached from here: name the app")
    (folder / "agents.toml").write_text('[[agents]]\nid = "keeping"\ngraph = "nowhere:graph"\n')
    said = lines(await run(folder, "cleanup", **QUIET))
    assert "nowhere cannot be imported" in said[1]
    assert await left(folder) == {"keeping": 1, "passing": 1}


async def test_a_thread_that_its_memory_does_not_delete_is_kept_for_later(folder: Path) -> None:
    database = open_database(f"sqlite:///{folder / 'chat.db'}")
    await ThreadStore(database).keep("bob", "his", StoredThread("keeping", "away"))
    await database.dispose()
    done = await run(folder, "cleanup", "my_app:app", **QUIET)
    assert lines(done)[0].startswith("1 threads")
    assert await left(folder) == {"keeping": 1, "passing": 1}
    assert "secret" not in done.out + done.err
