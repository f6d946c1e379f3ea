"""Whatever works on a text in a way that can grow faster than the text has been judged, and held to it.

The functions are found in the source (`text_work`). A new one fails here until it stands below:
with the worst that can be fed to it, or with the reason why no text of a user, a model or a tool
can make it long. Regular expressions are in ``test_loop_patterns.py``.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest
from langchain_core.messages import SystemMessage

from cmw_agent.approvals import Asked, _digest
from cmw_agent.channels.completions_streams import Voiced
from cmw_agent.channels.streams import Told
from cmw_agent.channels.whatsapp_question_text import Unshowable, question
from cmw_agent.channels.whatsapp_text import split, whatsapp
from cmw_agent.completion import _object
from cmw_agent.events import TextDelta
from cmw_agent.export import FORMATS, beginning
from cmw_agent.file_types import clean_name
from cmw_agent.runs import RunContext
from cmw_agent.schedule_times import UnknownTime, understood
from cmw_agent.text import MAX_MARKS, checked_message
from cmw_agent.tools.arithmetic import evaluate
from cmw_agent.web.hosts import AllowedHosts
from cmw_agent.web.protocol import MAX_HEADER_BYTES
from cmw_agent.web.view import tool_step
from memory.records import Said, StoredMessage, ToolRecord
from memory.text import pack_tools
from memory.window import fit, surplus
from tests.hostile import text_work
from tests.hostile.growth import grows_no_faster
from tests.hostile.test_held_loop import CONVERSATION
from tests.unit.test_view import stored

# -- judged: no text makes it long ------------------------------------------------

JUDGED: Mapping[str, tuple[str, ...]] = {
    "each round waits for something else, and works on no text": (
        "cmw_agent.agent.CmwAgent.stream",
        "cmw_agent.channels.streams._watch",
        "cmw_agent.channels.streams.to_its_end",
        "cmw_agent.channels.whatsapp.WhatsApp.incoming",
        "cmw_agent.channels.whatsapp_questions.Questions._answered",
        "cmw_agent.channels.whatsapp_questions.Questions.ask",
        "cmw_agent.channels.whatsapp_turns.Answerer._type",
        "cmw_agent.channels.whatsapp_worker.Worker._leave_untouched",
        "cmw_agent.channels.whatsapp_worker.Worker._run",
        "cmw_agent.chat.ChatService._keep",
        "cmw_agent.extraction._end",
        "cmw_agent.files.lively",
        "cmw_agent.schedules.Scheduler._work",
        "cmw_agent.schedules.Scheduler.rest",
        "cmw_agent.schedules.Scheduler.tick",
        "cmw_agent.sessions.SessionRegistry.session",
        "cmw_agent.streaming.CoalescedStream.__aiter__",
        "cmw_agent.turns.Turn.__anext__",
        "cmw_agent.upstream.Reply.read",
        "cmw_agent.web.events.EventServer._fetched",
        "cmw_agent.web.events.EventServer._live",
        "cmw_agent.web.events._disconnected",
        "cmw_agent.web.handlers.Handlers._page",
        "cmw_agent.web.mailboxes.Mailbox.put",
        "memory.database.SqliteDatabase._merged",
        "memory.lock.FileLock.share",
    ),
    "bytes are collected in a bytearray or a list, up to a bound": (
        "cmw_agent.channels.bodies.BoundedBodies._whole",
        "cmw_agent.channels.whatsapp_wire.Wire.media",
        "cmw_agent.channels.whatsapp_wire._bounded",
        "cmw_agent.extraction._talk",
        "cmw_agent.file_store.FileStore.receive",
        "cmw_agent.transcription._body",
        "cmw_agent.web.guarded._read",
        "cmw_agent.web.page_bodies.PageBodies._whole",
    ),
    "numbers are added or rounded": (
        "cmw_agent.answers.Answer.add",
        "cmw_agent.backups.check",
        "cmw_agent.budget_use.Hold.grow",
        "cmw_agent.budget_use.Use.add",
        "cmw_agent.budget_use.Use.note",
        "cmw_agent.channels.downloads.Download.stream_response",
        "cmw_agent.channels.whatsapp._age",
        "cmw_agent.files.Files.sweep",
        "cmw_agent.ops.traces._Drawing.counted",
        "cmw_agent.sessions.SessionRegistry.expire",
        "cmw_agent.streaming.Window._end",
        "cmw_agent.streaming.next_tick",
        "cmw_agent.transcripts._add",
        "cmw_agent.web.protocol.BoundedProtocol.data_received",
        "cmw_agent.work.Work._finish",
        "memory.retention.Retention._in_batches",
    ),
    "a few entries, bounded by a constant, are looked at": (
        "cmw_agent.counters.ProcessStorage._keep",
        "cmw_agent.counters.ProcessStorage._recent",
        "cmw_agent.errors.frames",
        "cmw_agent.ops.watchdog.trail",
        "cmw_agent.web.accounts._bound",
        "cmw_agent.web.handlers.Handlers._stream",
        "cmw_agent.web.handlers.Handlers.send",
        "cmw_agent.web.pages.Pages.__call__",
        "memory.writing.Writer._taken",
    ),
    "pages of rows, one statement each": (
        "cmw_agent.history.History.conversations",
        "cmw_agent.history.History.messages",
        "cmw_agent.tools.catalog.Wire.pages",
        "memory.reading.window",
    ),
    "files of one message, of which there are few": ("cmw_agent.files.Files.contents",),
    "one copy of what is sent anyway": (
        "cmw_agent.agent.CmwAgent.summarise",
        "cmw_agent.web.events.EventServer._deliver",
        # the whole answer for each of its windows, as Gradio's clients read it
        "cmw_agent.web.handlers.Handlers.chat",
    ),
    "orjson reads in linear time, and refuses what is nested too deeply": (
        "cmw_agent.channels.whatsapp._json",
        "cmw_agent.channels.whatsapp_wire._json",
        "cmw_agent.extraction._understood",
        "cmw_agent.streaming.SSEParser._parse",
        "cmw_agent.streaming._Frame.around",
        "cmw_agent.transcription._text_of",
        "cmw_agent.web.consent.ConsentRoutes._pending",
        "cmw_agent.web.events.EventServer._cancel",
        "cmw_agent.web.events.EventServer._join",
        "cmw_agent.web.guard.Guard._bind_body",
        "cmw_agent.web.guarded.body",
        "cmw_agent.web.handlers._files",
        "cmw_agent.web.login._unpacked",
    ),
    "JSON is written in linear time, of values that `mended` has made shallow": (
        "cmw_agent.channels.embed._asked",
        "cmw_agent.channels.whatsapp_question_text._escape",
        "cmw_agent.channels.whatsapp_question_text._json",
        "cmw_agent.demo._tool_call",
        "cmw_agent.ops.logs._rendered",
        "cmw_agent.tools.composio._text",
        "cmw_agent.tools.toolbox._connect",
        "cmw_agent.web.approvals._item",
        "memory.manager.ConversationMemoryManager.update_context",
    ),
    "names are compared with one that is longer by its length alone, or has 20 letters at most": (
        "cmw_agent.chat_commands.ChatCommands._named",
        "cmw_agent.chat_commands.ChatCommands.run",
    ),
    "escaped once": (
        "cmw_agent.export._html_head",
        "cmw_agent.web.login.LoginRoutes._answered.endpoint",
        "cmw_agent.web.ui._agents",
        "cmw_agent.web.ui.heading",
    ),
    "not on the loop of the app: commands, start, a thread of its own": (
        "cmw_agent.backup_folder._measured",
        "cmw_agent.commands._done",
        "cmw_agent.commands.database_of",
        "cmw_agent.ops.watchdog.Watchdog._watch",
        "cmw_agent.profiles._profile",
        "cmw_agent.settings._unknown_names",
        "cmw_agent.settings_values._api_key",
        "cmw_agent.settings_values.frame_ancestors",
        "cmw_agent.web.routes.Route.pattern",
    ),
    "each entry is put in once and taken out once": ("cmw_agent.budget_use.Use.forget",),
    "each round serves one of those who wait, or pushes one out, of a number that is bounded": (
        "cmw_agent.budget_use.Use.grant",
        "cmw_agent.web.mailboxes.Mailboxes.open",
    ),
    "one list made of a few": ("cmw_agent.web.oidc._groups",),
    "one pass over a number": ("cmw_agent.sessions._described",),
    "16 digits at most": ("cmw_agent.channels.whatsapp_messages._time",),
    "measured in test_held_loop.py": (
        "cmw_agent.demo._words",
        "cmw_agent.streaming.SSEParser.feed",
        "cmw_agent.tools.arithmetic._rounded",
    ),
}

# -- measured: the worst that can be fed to it ------------------------------------


class Case:
    """The worst text for some functions.

    Args:
        functions: Those that the work goes through.
        work: Is done with what is made.
        made: Makes it of a size in characters.
        size: The largest that is measured, with an eighth of it.
    """

    def __init__(
        self,
        *functions: str,
        work: Callable[[Any], object],
        made: Callable[[int], Any] = lambda size: "a" * size,
        size: int = 32_000,
    ) -> None:
        self.functions = functions
        self.work = work
        self.made = made
        self.size = size


def tolerant(work: Callable[[Any], object], *refused: type[Exception]) -> Callable[[Any], object]:
    """Return `work`, which may also refuse what it is given."""

    def does(text: Any) -> object:
        try:
            return work(text)
        except refused:
            return None

    return does


def asked_for(text: str) -> object:
    return question(Asked("approval", "call", "SEND", {"text": text}, 2.0))


def heard(kind: Callable[[], Any]) -> Callable[[int], object]:
    def work(count: int) -> object:
        told = kind()
        for _ in range(count):
            told.add(TextDelta("twenty characters ok"))
        return told.text

    return work


def exchanges(size: int) -> list[Said]:
    return [Said(size - place, "user" if place % 2 else "assistant", "hi") for place in range(size)]


def packed(text: str) -> object:
    return pack_tools([ToolRecord("t", "n", {"a": text}, text, ok=True, duration_ms=1)])


def begun(messages: list[StoredMessage]) -> str:
    async def pages() -> AsyncGenerator[list[StoredMessage]]:
        yield messages

    return asyncio.run(beginning(FORMATS["md"], CONVERSATION, pages(), 10**9))


def named(ids: list[str]) -> list[str]:
    nothing: Any = None
    context = RunContext("owner", nothing, SystemMessage(""), nothing)
    return [context.named(call_id) for call_id in ids]


def nested(size: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(size):
        made = {"a": made}
    return made


CASES = {
    "headings": Case(
        "cmw_agent.channels.whatsapp_text._heading",
        "cmw_agent.channels.whatsapp_text.whatsapp",
        work=whatsapp,
        made=lambda size: "# " + "**" * (size // 2),
    ),
    "pairs": Case(
        "cmw_agent.channels.whatsapp_text._paired_line",
        work=whatsapp,
        made=lambda size: "**a** ~~b " * (size // 10),
    ),
    "tables": Case(
        "cmw_agent.channels.whatsapp_text._without_tables",
        work=whatsapp,
        made=lambda size: "| a |\n|---|\n" * (size // 12),
    ),
    "parts": Case(
        "cmw_agent.channels.whatsapp_text.split", work=split, made=lambda s: "` a" * (s // 3)
    ),
    "a question's arguments": Case(
        "cmw_agent.channels.whatsapp_question_text.question",
        work=tolerant(asked_for, Unshowable),
        made=lambda size: "\u202e" * size,
        size=256_000,
    ),
    "an answer in pieces": Case(work=heard(Told), made=lambda n: n, size=16_000),
    "a completion in pieces": Case(work=heard(lambda: Voiced("m")), made=lambda n: n, size=16_000),
    "arguments that nest": Case(
        "cmw_agent.completion._object", work=_object, made=lambda size: '{"a":' * (size // 5)
    ),
    "arguments of digits": Case(
        "cmw_agent.completion._object",
        work=_object,
        made=lambda size: '{"a":[' + ("9" * 4_000 + ",") * (size // 4_000) + "1]}",
        size=256_000,
    ),
    "an export": Case(
        "cmw_agent.export._section",
        "cmw_agent.export._section",
        work=lambda text: FORMATS["html"].page([stored("assistant", text)], is_first=True),
        made=lambda size: "<" * size,
        size=256_000,
    ),
    "the beginning of an export": Case(
        "cmw_agent.export.beginning",
        work=begun,
        made=lambda size: [stored("assistant", "<" * 100)] * (size // 100),
        size=256_000,
    ),
    "ids of calls that repeat": Case(
        "cmw_agent.runs.RunContext.named",
        work=named,
        made=lambda size: ["call_0"] * size,
        size=8_000,
    ),
    "what a question shows": Case(
        "cmw_agent.approvals._digest",
        work=lambda text: _digest("owner", "conversation", "SEND", {text: text, "a": [text]}),
        made=lambda size: "\0" * size,
        size=256_000,
    ),
    "what a question shows, nested": Case(
        "cmw_agent.approvals._digest",
        work=lambda shown: _digest("owner", "conversation", "SEND", shown),
        made=nested,
    ),
    "a host's name": Case(
        "cmw_agent.web.hosts._parents",
        work=AllowedHosts(frozenset({"*.example.com"})).allow,
        made=lambda size: "a." * (size // 2),
        size=MAX_HEADER_BYTES,
    ),
    "a file's name": Case(
        "cmw_agent.file_types.clean_name", work=clean_name, made=lambda s: "/" * s
    ),
    "times": Case(
        "cmw_agent.schedule_times._named_days",
        "cmw_agent.schedule_times._times",
        "cmw_agent.schedule_times._weekdays",
        "cmw_agent.schedule_times.following",
        "cmw_agent.schedule_times.upcoming",
        work=tolerant(understood, UnknownTime),
        made=lambda size: "every mon in in " * (size // 16),
    ),
    "marks": Case(
        "cmw_agent.text._stream_safe",
        "cmw_agent.text.composed",
        work=lambda text: checked_message(text, 64_000),
        made=lambda size: "a" + ("\u0315" * MAX_MARKS + "\u0300") * (size // (MAX_MARKS + 1)),
    ),
    "sums": Case(
        "cmw_agent.tools.arithmetic.evaluate",
        work=tolerant(evaluate, ValueError),
        made=lambda size: "(" * size,
    ),
    "a step": Case(
        "cmw_agent.web.view.tool_step",
        work=lambda text: tool_step("t", {"a": [text] * 4}, text),
        made=lambda size: "`" * size,
    ),
    "stored calls": Case("memory.text.pack_tools", work=packed, made=lambda size: "\\" * size),
    "stored calls of NUL": Case(
        "memory.text.pack_tools", work=packed, made=lambda size: "\\u000" * (size // 5)
    ),
    "a window of many messages": Case(
        work=lambda said: fit(said, 10**9),
        made=exchanges,
        size=12_000,
    ),
    "a window that moves": Case(
        "memory.window.surplus",
        work=lambda said: surplus(said, 10**9, 1),
        made=lambda size: exchanges(size)[::-1],
    ),
}


def test_every_function_that_may_grow_faster_than_a_text_is_judged_here() -> None:
    judged = [name for names in JUDGED.values() for name in names]
    measured = {name for case in CASES.values() for name in case.functions}
    known = text_work.found()
    assert len(judged) == len(set(judged))
    assert not set(judged) & measured
    new = {name: signs for name, signs in known.items() if name not in {*judged, *measured}}
    assert not new, "judge these, or measure the worst text for them"
    assert not {*judged, *measured} - set(known), "these are gone"


@pytest.mark.parametrize("name", CASES)
def test_the_worst_text_takes_no_longer_than_its_length_explains(name: str) -> None:
    case = CASES[name]
    assert grows_no_faster(case.work, case.made, (case.size,))
