"""What the app stored before 0.1.0 works on: its data folder, and a backup of it."""

import tarfile
from pathlib import Path
from typing import Final

from cmw_agent.cli.backup import check, restore
from cmw_agent.config.settings import Settings
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.runtime.runtime import Runtime
from memory.connections import ConnectionStore
from memory.engine.database import open_database
from memory.records import utcnow
from tests.harness import settings_for
from tests.rows import sound
from tests.scheduled import store_of
from tests.service import answer_of, process, told

# How it was made stands in the README beside it.
ARCHIVE: Final = Path(__file__).parent / "data" / "before-0.1.0" / "data.tar.gz"
ALICE, BOB = Principal("user:alice", "account"), Principal("v" + "b" * 32, "visitor")


def unpacked(folder: Path) -> Path:
    """Unpack the archive into a folder, which then has `data` and `backup`; return it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


async def texts(runtime: Runtime, principal: Principal, conversation: str) -> list[tuple[str, str]]:
    stored = await runtime.memory.messages(principal.id, conversation)
    return [(message.content, message.status) for message in stored]


async def assert_all_is_there(runtime: Runtime) -> None:
    """Read all that stands in the archive through the app."""
    conversations = [item async for item in runtime.history.conversations(ALICE)]
    titles = {item.conversation_id: item.title for item in conversations}
    assert titles == {"alice-1": "Who I am", "alice-2": "/schedule every day at 9: the news"}
    first, _, second, answer = await runtime.memory.messages(ALICE.id, "alice-1")
    assert (first.content, second.content) == ("My name is Alice.", "What is my name?")
    assert "Alice" in answer.content
    assert (answer.status, answer.feedback) == ("complete", "like")
    assert (await runtime.history.search(ALICE, "name"))[0].conversation_id == "alice-1"
    notes, dot = await runtime.memory.files_of(ALICE.id, "alice-1")
    assert {notes.name, dot.name} == {"notes.txt", "dot.png"}
    paths = {file.name: (await runtime.files.open(ALICE, file.file_id))[1] for file in (notes, dot)}
    assert paths["notes.txt"].read_bytes() == b"The ship is the Aurora."
    parts = (await runtime.files.contents(ALICE, "alice-1", [1], chars=100))[1]
    assert {part["type"] for part in parts} == {"text", "image_url"}
    assert await texts(runtime, BOB, "bob-1") == [
        ("Good morning from Bob", "complete"),
        ((await runtime.memory.messages(BOB.id, "bob-1"))[1].content, "complete"),
        ("Never answered", "complete"),
        ("", "interrupted"),
    ]
    (task,) = await store_of(runtime, utcnow).of_owner(ALICE.id)
    assert (task.conversation_id, task.text, task.cron) == ("alice-2", "the news", "0 9 * * *")
    assert await runtime.logins.names(ALICE.id) == frozenset({"alice"})


async def assert_it_goes_on(runtime: Runtime) -> None:
    """Continue each conversation: what was said before is known."""
    answers = {}
    for principal, conversation, text in (
        (ALICE, "alice-1", "What is my name?"),
        (ALICE, "alice-2", "Good day"),
        (BOB, "bob-1", "Good evening"),
    ):
        session = await runtime.registry.session(SessionKey(principal.id[-1] * 64), principal)
        session.conversation_id = conversation
        turn = runtime.chat.turn(session, text, key=f"on {text}", create=False)
        answers[conversation] = answer_of(await told(turn))
    assert "Alice" in answers["alice-1"]
    assert answers["alice-2"]
    assert answers["bob-1"]


async def faults_of(settings: Settings) -> dict[str, int]:
    """Return what `check` finds, and what was connected, in the settings' database."""
    database = open_database(f"sqlite:///{settings.data_dir / 'chat.db'}")
    try:
        assert await ConnectionStore(database).connected(ALICE.id) == {"gmail": "account-1"}
        return {law: times for law, times in (await check(settings, database)).items() if times}
    finally:
        await database.dispose()


async def test_the_app_starts_on_a_data_folder_made_before(tmp_path: Path) -> None:
    settings = settings_for(unpacked(tmp_path) / "data")
    async with process(settings) as runtime:
        await assert_all_is_there(runtime)
        await assert_it_goes_on(runtime)
    assert sound(settings.data_dir)
    assert await faults_of(settings) == {}


async def test_a_backup_made_before_is_restored_and_goes_on(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "new")
    restore(settings, unpacked(tmp_path) / "backup")
    async with process(settings) as runtime:
        await assert_all_is_there(runtime)
        await assert_it_goes_on(runtime)
    assert sound(settings.data_dir)
    assert await faults_of(settings) == {}
