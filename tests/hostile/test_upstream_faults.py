"""Every kind of failure of the model's server, in the whole app."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.doubles.openai_models import built_in
from tests.doubles.openai_server import OpenAIDouble, refused_url
from tests.doubles.openai_steps import Cut, Gate, Raw, Request, Step, Text, ToolCalls
from tests.harness import (
    WAIT,
    Browser,
    Event,
    Served,
    Tab,
    canary,
    last_text,
    served,
    settings_for,
    texts,
)
from tests.logbook import Logbook, error_id, logbook
from tests.rows import messages, turns

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-secret-of-the-app"
SENTENCE = re.compile(
    r"[⚠️⏸* ]{2,4}[A-Z][^\n.;*]{15,120}(; [^\n.*]{10,90})?\.\*? \(error `[0-9a-f]{8}`\)"
)


@dataclass
class House:
    """The app, the endpoint behind it, and what it logged."""

    app: Served
    endpoint: OpenAIDouble
    book: Logbook
    folder: Path
    healed: set[str] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncIterator[Tab]:
        async with Browser(self.app.url) as browser:
            yield await browser.open()


def by_message(healed: set[str]) -> dict[str, object]:
    """One model whose fault each message names first: `cut-3 please …`."""

    def script(request: Request) -> Sequence[Step]:
        fault, _, rest = request.last_user.partition(" ")
        if rest in healed:
            return [Text([f"You said: {rest}"])]
        if fault == "part":
            return [Text(["A part ", "of it"]), Gate(), Cut()]
        answer = built_in(fault)
        assert answer is not None, fault
        return answer(request)

    return {"by-message": script}


@contextlib.asynccontextmanager
async def house(folder: Path, model_timeout: float) -> AsyncIterator[House]:
    healed: set[str] = set()
    with logbook() as book:
        async with OpenAIDouble(scripts=by_message(healed)) as endpoint:  # type: ignore[arg-type]
            settings = settings_for(
                folder,
                openai_base_url=endpoint.base_url,
                openai_api_key=KEY,
                model="by-message",
                model_timeout=model_timeout,
            )
            async with served(settings) as app:
                yield House(app, endpoint, book, folder, healed)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def patient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """An app that waits long for the model."""
    async with house(tmp_path_factory.mktemp("patient"), 30) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """An app that takes a few seconds of silence for a failure; a well model answers in them."""
    async with house(tmp_path_factory.mktemp("hasty"), 4) as made:
        yield made


def check_told(house: House, event: Event, secret: str) -> str:
    """Check that the page says one sentence with an id that the log has; return the id."""
    assert event.error is None
    told = last_text(event.value)
    assert SENTENCE.fullmatch(told), told
    for hidden in (secret, KEY, "http", "127.0.0.1", "Traceback", "Error", "File"):
        assert hidden not in told
    found = error_id(told)
    assert len(house.book.naming(found)) == 1
    for hidden in (secret, KEY, house.endpoint.base_url, "\nTraceback"):
        assert hidden not in house.book.text
    assert house.book.unhandled == []
    return found


def check_kept(house: House, secret: str, status: str, content: str, told: str) -> None:
    question, answer = messages(house.folder, secret)
    assert (question["role"], question["status"]) == ("user", "complete")
    assert secret in question["content"]
    assert (answer["status"], answer["content"], answer["error_id"]) == (status, content, told)
    (turn,) = turns(house.folder, secret)
    assert (turn["state"], turn["error_id"]) == (status, told)


async def check_retry(house: House, tab: Tab, secret: str) -> None:
    """Check that the same conversation goes on once the server is well again."""
    house.healed.add(secret)
    again = await tab.run("retry", [""])
    assert again.error is None
    assert texts(again.value, "assistant") == [f"You said: {secret}"]
    assert [turn["state"] for turn in turns(house.folder, secret)][1:] == ["complete"]


async def fails(house: House, fault: str, status: str, content: str, asked: int) -> None:
    secret = canary()
    async with house.page() as tab:
        event = await tab.send(f"{fault} {secret}")
        told = check_told(house, event, secret)
        check_kept(house, secret, status, content.replace("CANARY", secret), told)
        assert len(house.endpoint.matching(secret)) == asked
        await check_retry(house, tab, secret)
        assert len(house.endpoint.matching(secret)) == asked + 1


@pytest.mark.parametrize(
    ("fault", "status", "content", "asked"),
    [
        ("fail-400", "failed", "", 1),
        ("fail-401", "failed", "", 1),
        ("fail-404", "failed", "", 1),
        ("fail-429", "failed", "", 3),
        ("fail-429-bare", "failed", "", 3),
        ("fail-500", "failed", "", 3),
        ("cut-0", "failed", "", 3),
        ("cut-3", "interrupted", "CANARY one word ", 1),
        ("not-sse", "failed", "", 1),
        ("bad-json", "interrupted", "You ", 1),
        ("error-in-stream", "interrupted", "You said: error-in-stream CANARY", 1),
        ("empty", "failed", "", 1),
    ],
)
async def test_a_failure_is_told_in_one_sentence_kept_and_mended_by_a_retry(
    patient: House, fault: str, status: str, content: str, asked: int
) -> None:
    await fails(patient, fault, status, content, asked)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "status", "content", "asked"),
    [("hang", "interrupted", "You ", 1), ("hang-before", "failed", "", 1)],
)
async def test_a_silent_model_is_told_in_one_sentence_kept_and_mended_by_a_retry(
    hasty: House, fault: str, status: str, content: str, asked: int
) -> None:
    await fails(hasty, fault, status, content, asked)


async def test_a_server_that_refuses_connections_is_told_in_one_sentence(tmp_path: Path) -> None:
    secret = canary()
    with refused_url() as url, logbook() as book:
        settings = settings_for(tmp_path, openai_base_url=url, openai_api_key=KEY)
        async with (
            OpenAIDouble() as endpoint,
            served(settings) as app,
            Browser(app.url) as browser,
        ):
            event = await (await browser.open()).send(secret)
        house = House(app, endpoint, book, tmp_path)
        check_kept(house, secret, "failed", "", check_told(house, event, secret))
        assert "cannot be reached" in last_text(event.value)


async def test_what_the_reader_saw_before_the_cut_stays_on_the_page(patient: House) -> None:
    secret = canary()
    async with patient.page() as tab:
        event = Event(await tab.join("send", [f"part {secret}", "", "", None]))
        async with (
            asyncio.timeout(WAIT),
            contextlib.aclosing(tab.follow(event)) as updates,  # type: ignore[type-var]
        ):
            async for update in updates:
                if last_text(update.value) == "A part of it":
                    patient.endpoint.release(secret)
        assert texts(event.value, "assistant")[0] == "A part of it"
        check_kept(
            patient, secret, "interrupted", "A part of it", check_told(patient, event, secret)
        )
        assert len(patient.endpoint.matching(secret)) == 1


async def test_the_page_shows_the_failure_again_after_a_reload(patient: House) -> None:
    secret = canary()
    async with Browser(patient.app.url) as browser:
        tab = browser.tab()
        conversation = (await tab.open()).values[-1][1]
        told = error_id(last_text((await tab.send(f"fail-404 {secret}")).value))
        await tab.close()
        shown = await browser.tab(query=f"?c={conversation}").open()
        assert texts(shown.value, "user") == [f"fail-404 {secret}"]
        assert error_id(last_text(shown.value)) == told


def calling(name: str, arguments: str) -> Sequence[Step]:
    return [ToolCalls([(name, arguments)])]


UNSTORABLE: dict[str, Sequence[Step]] = {
    "nul in the text": [Text(["be", "f\0ore", "\0"])],
    "half a surrogate in the text": [
        Text(["before "]),
        Raw(b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n'),
    ],
    "nul in a tool's arguments": calling("calculate", '{"expression": "1\\u0000"}'),
    "half a surrogate in a tool's arguments": calling("calculate", '{"expression": "\\ud83d"}'),
    "half a surrogate in a key": calling("calculate", '{"\\ud83d": 1}'),
    "no number in a tool's arguments": calling("calculate", '{"expression": NaN}'),
    "no end in a tool's arguments": calling("calculate", '{"expression": -Infinity}'),
    "a zone of half a surrogate": calling("current_time", '{"time_zone": "\\udc00"}'),
    "a name of half a surrogate": calling("\ud83d", "{}"),
    "a name with nul": calling("calcu\0late", "{}"),
    "arguments that are no object": calling("calculate", "[1]"),
    "arguments that are not JSON": calling("calculate", '{"expression": '),
    "arguments without end": calling("calculate", '{"a":' * 5000 + "1" + "}" * 5000),
}


@pytest.mark.parametrize("fault", UNSTORABLE)
async def test_what_no_database_stores_ends_no_conversation(fault: str, tmp_path: Path) -> None:
    """A model may say anything; the turn ends, is stored, and the next one begins at once."""

    def script(request: Request) -> Sequence[Step]:
        if request.tool_results or request.last_user == "and now?":
            return [Text(["fine"])]
        return UNSTORABLE[fault]

    with logbook() as book:
        async with OpenAIDouble(scripts={"odd": script}) as endpoint:
            settings = settings_for(tmp_path, openai_base_url=endpoint.base_url, model="odd")
            async with served(settings) as app, Browser(app.url) as browser:
                tab = await browser.open()
                event = await tab.send("well?")
                assert event.error is None
                assert texts(event.value, "user") == ["well?"]
                assert turns(tmp_path)[0]["state"] != "running"
                last = await tab.send("and now?")
                assert last.error is None
                assert last_text(last.value) == "fine"
                stored = [m["content"] for m in messages(tmp_path)]
                assert stored[0] == "well?"
                assert stored[-2:] == ["and now?", "fine"]
        assert book.unhandled == []
