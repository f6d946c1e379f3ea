"""Graphs, runnables and functions of the operator's answer in every channel, each for its own user."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cmw_agent import Agent
from cmw_agent.agent.own.run import thread_id
from tests.agents import samples
from tests.harness import Browser, Served, canary, served, settings_for
from tests.isolation.toolhouse import pending_approvals, settle_approval
from tests.logbook import logbook
from tests.rest import BANK, KEYS, SHOP, Client, Reply, client
from tests.service import wait_until

GRAPHS = {
    "echo": samples.echo,
    "memory": samples.remembering,
    "owner": samples.owner_graph,
    "nested": samples.nested,
    "colours": samples.colours,
    "deleting": samples.deleting,
    "chain": samples.chain,
    "words": samples.words,
    "whole": samples.whole,
    "cut": samples.cut,
    "asking": samples.asking,
    "raising": samples.raising,
    "hanging": samples.hanging,
    "rubbish": samples.rubbish,
    "silent": samples.silent,
    "endless": samples.endless,
}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextlib.asynccontextmanager
async def serving(folder: Path, **changes: Any) -> AsyncIterator[Served]:
    """Serve the app with all graphs of the samples for the block."""
    agents = [Agent(id=name, graph=graph) for name, graph in GRAPHS.items()]
    async with served(settings_for(folder, api_keys=KEYS, **changes), agents=agents) as app:
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("answers")) as served_app:
        yield served_app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hurried(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """An app whose turns last five seconds at most."""
    async with serving(tmp_path_factory.mktemp("hurried"), turn_timeout=5) as served_app:
        yield served_app


@pytest.fixture
def session() -> str:
    """A session that no other test has."""
    return canary()


async def answer_of(shop: Client, text: str, session: str) -> str:
    """Return the answer to a message."""
    reply = await shop.say(text, session)
    assert reply.status == 200, reply.body
    return str(reply.json["response"])


async def failure_of(app: Served, agent: str) -> tuple[Reply, Reply]:
    """Return what a program reads of a failed answer: whole, and streamed."""
    async with client(app.url, agent=agent) as shop:
        return await shop.say("Hello", "one"), await shop.say(
            "Hello", "two", Accept="text/event-stream"
        )


async def test_a_graph_answers_with_the_window_of_the_conversation(
    app: Served, session: str
) -> None:
    async with client(app.url, agent="echo") as shop:
        assert await answer_of(shop, "one", session) == "You said: one"
        assert await answer_of(shop, "two", session) == "You said: one, two"
        assert await answer_of(shop, "three", canary()) == "You said: three"


async def test_a_graph_with_a_checkpointer_keeps_a_thread_for_each_owner(
    app: Served, session: str
) -> None:
    async with (
        client(app.url, SHOP, "memory") as shop,
        client(app.url, BANK, "memory") as bank,
    ):
        assert await answer_of(shop, "one", session) == "You said: one"
        assert await answer_of(shop, "two", session) == "You said: one, two"
        assert await answer_of(bank, "three", session) == "You said: three"


async def test_a_graph_finds_its_owner_in_its_run_context(app: Served, session: str) -> None:
    async with (
        client(app.url, SHOP, "owner") as shop,
        client(app.url, BANK, "owner") as bank,
    ):
        first, second = (
            await answer_of(shop, "Hello", session),
            await answer_of(bank, "Hello", session),
        )
        assert first != second
        assert first == await answer_of(shop, "Hello", session)


async def test_equal_conversation_ids_of_two_owners_give_two_threads() -> None:
    assert thread_id("a", "c") == thread_id("a", "c") != thread_id("b", "c")
    assert thread_id("a", None) != thread_id("a", None)


async def test_steps_of_a_sub_graph_are_drawn_and_its_answer_stands_once(app: Served) -> None:
    async with client(app.url, agent="nested") as shop:
        reply = await shop.say("Look")
        assert reply.json["response"] == "Three rows."
        assert [step["name"] for step in reply.json["metadata"]["tools"]] == ["looking"]


async def test_a_runnable_gets_the_text_and_the_history_that_it_takes(
    app: Served, session: str
) -> None:
    async with client(app.url, agent="chain") as shop:
        assert await answer_of(shop, "one", session) == "1: one"
        assert await answer_of(shop, "two", session) == "3: two"


async def test_a_function_streams_text_and_thoughts_for_its_owner(
    app: Served, session: str
) -> None:
    async with client(app.url, agent="words") as shop:
        content = {"message": "one two", "include": ["thinking"]}
        path = "/api/chat/words/message"
        reply = await shop.ask("POST", path, content, Accept="text/event-stream")
        texts = [data["text"] for kind, data in reply.events if kind == "delta"]
        assert "".join(texts).startswith("You said: one two for ")
        assert [data["text"] for kind, data in reply.events if kind == "thinking"] == ["hm"]
        shop.agent = "whole"
        assert await answer_of(shop, "one", session) == "Whole: one"


async def test_an_own_agent_answers_in_the_form_of_openai(app: Served) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "one"}]}
    async with client(app.url) as shop:
        reply = await shop.ask("POST", "/v1/chat/completions", body)
        assert reply.json["choices"][0]["message"]["content"] == "You said: one"


async def test_an_answer_that_its_model_has_cut_says_so(app: Served, session: str) -> None:
    async with client(app.url, agent="cut") as shop:
        reply = await shop.say("Go", session)
        assert reply.json["response"] == "Half"
        stored = (await shop.at(session)).json["messages"][-1]
        assert (stored["status"], stored["finish_reason"]) == ("interrupted", "length")


# -- interrupts ----------------------------------------------------------------------------------


async def settled(shop: Client, session: str, answer: str, **more: Any) -> None:
    """Answer the one question that waits in a session."""
    waiting = (await shop.at(session, "/approvals")).json["waiting"]
    body = {"call": waiting[0]["call"], "answer": answer, **more}
    path = f"/api/chat/{shop.agent}/sessions/{session}/approvals"
    assert (await shop.ask("POST", path, body)).status == 204


@pytest.mark.parametrize(
    ("agent", "answer", "arguments", "expected"),
    [
        ("deleting", "approved", None, "Deleted."),
        ("deleting", "denied", None, "Left alone."),
        ("colours", "approved", {"question": "Which colour?", "answer": "blue"}, "Painted blue."),
        ("colours", "denied", None, "Painted None."),
        ("asking", "approved", {"question": "Which one?", "answer": "B"}, "You chose B."),
    ],
)
async def test_what_a_graph_asks_its_user_decides(
    agent: str,
    answer: str,
    arguments: dict[str, str] | None,
    expected: str,
    app: Served,
    session: str,
) -> None:
    async with client(app.url, agent=agent) as shop:
        approvals = app.application.runtime.approvals
        running = asyncio.create_task(shop.say("Go", session, Accept="text/event-stream"))
        await wait_until(lambda: len(approvals) == 1)
        more = {} if arguments is None else {"arguments": arguments}
        await settled(shop, session, answer, **more)
        (done,) = [data for kind, data in (await running).events if kind == "done"]
        assert (await shop.at(session)).json["messages"][-1]["content"] == expected, done


async def test_nobody_else_sees_or_answers_what_a_graph_asks(app: Served, session: str) -> None:
    async with (
        client(app.url, SHOP, "colours") as shop,
        client(app.url, BANK, "colours") as bank,
    ):
        approvals = app.application.runtime.approvals
        running = asyncio.create_task(shop.say("Go", session, Accept="text/event-stream"))
        await wait_until(lambda: len(approvals) == 1)
        call = (await shop.at(session, "/approvals")).json["waiting"][0]["call"]
        path = f"/api/chat/colours/sessions/{session}/approvals"
        assert (await bank.at(session, "/approvals")).status == 404
        taken = await bank.ask("POST", path, {"call": call, "answer": "approved"})
        assert taken.status == 404
        await settled(shop, session, "denied")
        await running


async def test_a_question_of_a_graph_is_answered_from_another_page(tmp_path: Path) -> None:
    agents = [Agent(id="colours", graph=samples.colours)]
    async with (
        served(settings_for(tmp_path), agents=agents) as app,
        Browser(app.url) as browser,
    ):
        writer = await browser.open()
        approvals = app.application.runtime.approvals
        running = asyncio.create_task(writer.send("Paint"))
        await wait_until(lambda: len(approvals) == 1)
        async with browser.http.get(f"{browser.url}/history") as found:
            conversation = (await found.json())["conversations"][0]["id"]
        other = browser.tab(query=f"?c={conversation}")
        await other.open()
        (waiting,) = await pending_approvals(other, conversation)
        arguments = {"question": "Which colour?", "answer": "green"}
        status = await settle_approval(
            other, conversation, waiting["call"], "approved", arguments=arguments
        )
        assert status == 200
        assert "Painted green." in str((await running).value)


# -- broken agents -------------------------------------------------------------------------------


async def test_an_agent_that_raises_keeps_what_came_and_says_so_once(tmp_path: Path) -> None:
    with logbook() as book:
        async with serving(tmp_path) as app:
            whole, streamed = await failure_of(app, "raising")
            async with client(app.url, agent="raising") as shop:
                stored = (await shop.at("one")).json["messages"][-1]
    assert stored["content"].strip() == "Half of"
    assert stored["status"] == "interrupted"
    assert whole.status == 200
    assert "The agent failed" in whole.body.decode()
    assert "The agent failed" in streamed.body.decode()
    for text in (whole.body.decode(), streamed.body.decode(), book.text):
        assert "a secret" not in text
    assert "RuntimeError" in book.text
    assert "samples.py" in book.text


@pytest.mark.parametrize(
    ("agent", "sentence"),
    [
        ("hanging", "took longer than"),
        ("rubbish", "gave no answer"),
        ("silent", "gave no answer"),
        ("endless", "more than an answer may hold"),
    ],
)
async def test_a_broken_agent_costs_one_sentence_and_nobody_else(
    agent: str, sentence: str, hurried: Served, session: str
) -> None:
    async with client(hurried.url, agent="echo") as shop:
        failing = asyncio.create_task(failure_of(hurried, agent))
        assert await answer_of(shop, "one", session) == "You said: one"
        for reply in await failing:
            assert sentence in reply.body.decode()


async def test_an_answer_of_a_graph_is_of_no_model_of_the_settings(
    app: Served, session: str
) -> None:
    async with client(app.url, agent="echo") as shop:
        await answer_of(shop, "one", session)
        messages = (await shop.at(session)).json["messages"]
        assert [message["model"] for message in messages] == [None, None]
        assert "demo" not in (await shop.ask("GET", "/v1/models")).body.decode()
        ready = await shop.ask("GET", "/readyz")
        assert ready.json == {"status": "ready", "model": "own graphs"}
