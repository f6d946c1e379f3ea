"""What the app stored before 0.1.0 works on: its data folder, and a backup of it."""

import base64
import hmac
import tarfile
import time
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers

from cmw_agent.cli.backup import check, restore
from cmw_agent.config.settings import Settings
from cmw_agent.identity.principals import Identities, Principal, SessionKey
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.tools.composio.accounts import ConnectionUser
from cmw_agent.web.security.visitor_cookie import VisitorTokens
from memory.connections import ConnectionStore
from memory.engine.database import open_database
from memory.records import utcnow
from tests.harness import settings_for
from tests.rows import sound
from tests.scheduled import schedule_store
from tests.service import all_events, answer_text, running_app

# How it was made stands in the README beside it.
ARCHIVE: Final = Path(__file__).parent / "data" / "before-0.1.0" / "data.tar.gz"
ALICE, BOB = Principal("user:alice", "account"), Principal("v" + "b" * 32, "visitor")
GREETING: Final = (
    "Hello! I am the **demo model**: I run without a key and without a network, and I only know a few "
    "tricks. Tell me your name and ask for it later, ask for the time in a city, give me a sum, or say "
    "*count to 100* and stop me on the way.\n\nFor real answers set `OPENAI_API_KEY`, or "
    "`OPENAI_BASE_URL` for a server of your own, and start the app again."
)
KEY: Final = "s" * 32
# Bob's, signed with that key by commit 9bda76f, and the Unix time in it
COOKIE: Final = f"v{'b' * 32}.awxTzA.BK-ZBO2tgGgz8b783pRW3OnoR5RS6Sh42vmkPU49luE"
COOKIE_MADE_AT: Final = 1795969996


def unpacked(folder: Path) -> Path:
    """Unpack the archive into a folder, which then has `data` and `backup`; return it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def without_scheduler(folder: Path) -> Settings:
    """Return settings with which no task runs: the archive's is due on 30 November 2026 at 9:00."""
    return settings_for(folder, secret_key=KEY, schedules_per_user=0)


def cookie_of(principal: Principal, at: int) -> str:
    """Return the visitor cookie that commit 9bda76f signs at this Unix time."""

    def encoded(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    text = f"{principal.id}.{encoded(at.to_bytes(4, 'big'))}"
    key = hmac.digest(KEY.encode(), b"cmw.visitor.cookie", "sha256")
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"


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
        (GREETING, "complete"),
        ("Never answered", "complete"),
        ("", "interrupted"),
    ]
    (task,) = await schedule_store(runtime, utcnow).of_owner(ALICE.id)
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
        answers[conversation] = answer_text(await all_events(turn))
    assert "Alice" in answers["alice-1"]
    assert answers["alice-2"]
    assert answers["bob-1"]


async def faults_of(settings: Settings) -> dict[str, int]:
    """Return what `check` finds, and what was connected, in the settings' database."""
    database = open_database(f"sqlite:///{settings.data_dir / 'chat.db'}")
    try:
        (connected,) = await ConnectionStore(database).connected(ALICE.id)
        assert (connected.toolkit, connected.account_id) == ("gmail", "account-1")
        assert connected.user_id == ConnectionUser.of(ALICE).value
        assert connected.chosen_at is not None
        return {
            invariant: times
            for invariant, times in (await check(settings, database)).items()
            if times
        }
    finally:
        await database.dispose()


async def test_the_app_starts_on_a_data_folder_made_before(tmp_path: Path) -> None:
    settings = without_scheduler(unpacked(tmp_path) / "data")
    async with running_app(settings) as runtime:
        await assert_all_is_there(runtime)
        await assert_it_goes_on(runtime)
    assert sound(settings.data_dir)
    assert await faults_of(settings) == {}


async def test_a_backup_made_before_is_restored_and_goes_on(tmp_path: Path) -> None:
    settings = without_scheduler(tmp_path / "new")
    restore(settings, unpacked(tmp_path) / "backup")
    async with running_app(settings) as runtime:
        await assert_all_is_there(runtime)
        await assert_it_goes_on(runtime)
    assert sound(settings.data_dir)
    assert await faults_of(settings) == {}


def test_a_visitor_s_cookie_made_before_is_accepted() -> None:
    # The cookie of then expires after 400 days; one of the same form is made anew.
    assert cookie_of(BOB, COOKIE_MADE_AT) == COOKIE
    headers = Headers({"cookie": f"cmw_visitor={cookie_of(BOB, int(time.time()))}"})
    visitors = VisitorTokens(Identities((KEY,)), embedded=False)
    assert visitors.authenticate({"scheme": "http"}, headers).principal == BOB
