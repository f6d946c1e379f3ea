"""Exports: written in parts with the same bytes as at once, and ended when not read."""

import asyncio
import contextlib
import html
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.types import Message

from cmw_agent.channels.common.downloads import PIECE_BYTES, Download, Rate
from cmw_agent.conversations.archive_export import path_in_archive
from cmw_agent.conversations.export import all_written, beginning, formats, written
from cmw_agent.conversations.service import MESSAGES_AT_ONCE
from cmw_agent.core.finish_reasons import SENTENCES
from cmw_agent.language import languages
from cmw_agent.limits.budgets import Budget, Budgets
from memory.records import (
    AnswerDetails,
    Conversation,
    PictureRecord,
    SourceRecord,
    StoredMessage,
    ToolRecord,
)
from tests.harness import settings_for
from tests.service import all_events, running_app, session_of

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


def conversation(title: str = "Sums & <b>more</b>") -> Conversation:
    return Conversation(
        "c1", "assistant", title, None, None, "web", None, None, 2, "active", NOON, NOON, None
    )


def message(seq: int, content: str, *calls: ToolRecord, status: Any = "complete") -> StoredMessage:
    role: Any = "user" if seq % 2 else "assistant"
    return StoredMessage(seq, role, content, calls, status, None, None, None, NOON, "t", None, None)


async def paged(*pages: list[StoredMessage]) -> AsyncGenerator[list[StoredMessage]]:
    for page in pages:
        yield page


async def text_of(pieces: AsyncGenerator[bytes]) -> str:
    return b"".join([piece async for piece in pieces]).decode()


CALL = ToolRecord("1", "calculate", {"a": 1}, "```\n<2>", True, 5)
SAID = [message(1, "One\ntwo?"), message(2, "Three", CALL, status="interrupted")]
MARKDOWN = """# Sums & <b>more</b>

*Wed, Jan 2, 2030, 12:00 to Wed, Jan 2, 2030, 12:00 UTC*

## You

One
two?

## Assistant

````
calculate({"a":1})
```
<2>
````

Three

*This answer was cut short.*
"""


@pytest.mark.parametrize("at_once", [1, 2])
async def test_pages_make_up_the_same_text_however_large_they_are(at_once: int) -> None:
    pages = [SAID] if at_once == 2 else [SAID[:1], SAID[1:]]
    whole = {
        ending: await text_of(written(form, conversation(), paged(*pages)))
        for ending, form in formats(languages().english).items()
    }
    assert whole["md"] == MARKDOWN
    # As orjson writes the whole of it.
    found = orjson.loads(whole["json"])
    assert whole["json"] == orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    assert [item["content"] for item in found["messages"]] == ["One\ntwo?", "Three"]
    assert whole["html"].count("<section>") == 2
    assert whole["html"].endswith(
        "</article><p><em>This answer was cut short.</em></p></section>\n</body></html>\n"
    )
    everything = await text_of(all_written(_two(), lambda _: paged(*pages)))
    assert orjson.loads(everything)["conversations"] == [found, found]


async def _two() -> AsyncGenerator[Conversation]:
    yield conversation()
    yield conversation()


async def test_a_conversation_without_messages_is_whole_too() -> None:
    for ending, form in formats(languages().english).items():
        text = await text_of(written(form, conversation(), paged()))
        if ending == "json":
            assert orjson.loads(text)["messages"] == []
            assert text == orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
        assert text.endswith({"md": "UTC*\n", "json": "[]\n}", "html": "</body></html>\n"}[ending])


async def test_the_beginning_reads_no_more_than_it_shows() -> None:
    read: list[int] = []

    async def pages() -> AsyncGenerator[list[StoredMessage]]:
        for number in range(1, 100):
            read.append(number)
            yield [message(number, "x" * 100)]

    text = await beginning(formats(languages().english)["md"], conversation(), pages(), 250)
    assert len(text) == 250
    assert len(read) <= 3


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("report.pdf", "files/0a-report.pdf"),
        ("../../etc/passwd", "files/0a-etc_passwd"),
        ("C:\\x\\..\\y", "files/0a-C_x_.._y"),
        ("/", "files/0a-file"),
        ("..", "files/0a-file"),
        ("-rf \n\0☃.txt", "files/0a-rf_.txt"),
        ("x" * 300 + ".txt", f"files/0a-{'x' * 76}.txt"),
    ],
)
def test_no_name_of_a_file_leads_out_of_an_unpacked_archive(name: str, path: str) -> None:
    assert path_in_archive("0a", name) == path


# -- as a response -----------------------------------------------------------------------------


class Reader:
    """A client that takes as many pieces as it is let."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.got: list[Message] = []
        self.stuck = asyncio.Event()

    async def send(self, message: Message) -> None:
        if len(self.got) >= self.most:
            self.stuck.set()
            await asyncio.Event().wait()
        self.got.append(message)

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError


def budgets() -> Budgets:
    return Budgets({"exports": Budget("exports", "exports at once", 2, 2, 4)})


SCOPE: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}}


async def test_what_nobody_reads_is_made_no_further_than_one_page() -> None:
    made: list[int] = []

    async def pieces() -> AsyncGenerator[bytes]:
        for number in range(100):
            made.append(number)
            yield b"x" * (2 * PIECE_BYTES)

    counts, reader = budgets(), Reader(3)
    hold = counts.take("exports", "alice", None)
    response = Download(pieces(), hold, media_type="text/plain", headers={})
    running = asyncio.create_task(response(SCOPE, reader.receive, reader.send))
    await reader.stuck.wait()
    assert len(made) == 2
    assert all(len(part.get("body", b"")) <= PIECE_BYTES for part in reader.got)
    assert counts.used("exports") == 1
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert counts.used("exports") == 0


async def test_what_is_read_too_slowly_is_cut_off_without_its_end_and_given_back() -> None:
    closed: list[bool] = []

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    counts, reader = budgets(), Reader(5)
    hold = counts.take("exports", "alice", None)
    response = Download(pieces(), hold, media_type="text/plain", headers={}, rate=Rate(0.01, 10**9))
    await response(SCOPE, reader.receive, reader.send)
    assert all(part.get("more_body", True) for part in reader.got)
    assert closed == [True]
    assert counts.used("exports") == 0


async def test_the_deadline_is_that_of_the_average_so_that_a_trickle_ends_too() -> None:
    sent: list[int] = []

    async def pieces() -> AsyncGenerator[bytes]:
        while True:
            yield b"x"

    async def send(message: Message) -> None:
        sent.append(len(message.get("body", b"")))
        await asyncio.sleep(0.001)  # something moves all the time

    hold = budgets().take("exports", "alice", None)
    response = Download(pieces(), hold, media_type="text/plain", headers={}, rate=Rate(0.05, 10**6))
    await response(SCOPE, Reader(0).receive, send)
    assert sum(sent) < 1_000


# -- from the database -------------------------------------------------------------------------


async def test_a_long_conversation_is_read_page_by_page(tmp_path: Path) -> None:
    async with running_app(settings_for(tmp_path)) as runtime:
        session = await session_of(runtime)
        for number in range(MESSAGES_AT_ONCE):
            await all_events(runtime.chat.turn(session, f"number {number}", key=f"{number}"))
        pages = [
            page
            async for page in runtime.history.messages(
                session.principal, session.conversation_id or ""
            )
        ]
    assert [len(page) for page in pages] == [MESSAGES_AT_ONCE, MESSAGES_AT_ONCE]
    seqs = [item.seq for page in pages for item in page]
    assert seqs == sorted(seqs)
    assert len(set(seqs)) == 2 * MESSAGES_AT_ONCE


# -- what an answer has beside its text -------------------------------------------

DETAILS = AnswerDetails(
    thinking_ms=1500,
    sources=(SourceRecord("https://a.example/<1>", "One & <b>"), SourceRecord("", "Two")),
    pictures=(PictureRecord("f1", "p.png"),),
    cached_tokens=3,
    switched_from="model-a",
    note="A picture was not kept.",
)
CUT = replace(
    message(2, "Three", status="interrupted"),
    thinking="hm </pre> hm",
    finish_reason="length",
    details=DETAILS,
)
CUT_NOTE = f"{SENTENCES['length']} A picture was not kept."


async def exported(form: str, *, with_thinking: bool) -> str:
    pages = paged([message(1, "One?"), CUT])
    chosen = formats(languages().english, with_thinking=with_thinking)[form]
    return await text_of(written(chosen, conversation(), pages))


@pytest.mark.parametrize("form", ["md", "json", "html"])
async def test_an_export_holds_thoughts_on_request_alone(form: str) -> None:
    assert "hm" not in await exported(form, with_thinking=False)
    assert "hm" in await exported(form, with_thinking=True)
    everything = {
        asked: await text_of(all_written(_two(), lambda _: paged([CUT]), with_thinking=asked))
        for asked in (False, True)
    }
    assert ["hm" in text for text in everything.values()] == [False, True]


async def test_an_export_as_markdown_shows_thoughts_sources_pictures_and_the_end() -> None:
    assert (await exported("md", with_thinking=True)).endswith(
        "## Assistant\n\nThought for 1.5 s:\n\n```\nhm </pre> hm\n```\n\nThree\n\n"
        "[1] One & <b> – https://a.example/<1>  \n[2] Two\n\n*Picture: p.png*\n\n"
        f"*{CUT_NOTE}*\n"
    )


async def test_an_export_as_html_escapes_thoughts_and_sources() -> None:
    text = await exported("html", with_thinking=True)
    assert "<summary>Thought for 1.5 s</summary><pre>hm &lt;/pre&gt; hm</pre>" in text
    assert "<em>[1] One &amp; &lt;b&gt; – https://a.example/&lt;1&gt;</em>" in text
    assert f"<p><em>{html.escape(CUT_NOTE)}</em></p>" in text


async def test_an_export_as_json_has_all_that_is_known_of_an_answer() -> None:
    question, answer = orjson.loads(await exported("json", with_thinking=True))["messages"]
    assert "thinking" not in question
    assert (
        answer
        | {
            "finish_reason": "length",
            "note": CUT_NOTE,
            "sources": [
                {"url": "https://a.example/<1>", "title": "One & <b>"},
                {"url": "", "title": "Two"},
            ],
            "pictures": [{"id": "f1", "name": "p.png"}],
            "switched_from": "model-a",
            "cached_tokens": 3,
            "thinking": "hm </pre> hm",
            "thinking_seconds": 1.5,
        }
        == answer
    )
