"""Every function whose work may grow faster than its text is measured, or judged to be bounded.

`text_work` finds the functions in the source. A new one fails here until it is listed below, with
the worst input for it, or with the reason why no text of a user, a model or a tool makes it slow.
Regular expressions are in ``test_loop_patterns.py``.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest

from cmw_agent.agent.tool_loop import RunContext
from cmw_agent.channels.common.turn_streams import TurnResult
from cmw_agent.channels.openai.streams import ChatCompletionBuilder
from cmw_agent.channels.whatsapp.approval_text import ApprovalNotShowableError, question
from cmw_agent.channels.whatsapp.formatting import split, whatsapp
from cmw_agent.chat.approval_registry import _digest
from cmw_agent.conversations.export import beginning, formats
from cmw_agent.core.events import TextDelta
from cmw_agent.core.sanitize import MAX_MARKS, validate_message
from cmw_agent.files.sniffing import clean_name
from cmw_agent.language import languages
from cmw_agent.llm.message_text import MessageText
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.text_calls import parse_calls
from cmw_agent.llm.tool_calls import ToolCalls as CallsInPieces
from cmw_agent.llm.tool_calls import json_object
from cmw_agent.schedules.phrases import parse_recurrence
from cmw_agent.schedules.recurrence import UnknownTimeError
from cmw_agent.server.http_protocol import MAX_HEADER_BYTES
from cmw_agent.tools.approvals import PendingApproval
from cmw_agent.tools.builtin.arithmetic import evaluate
from cmw_agent.web.page.steps import tool_step
from cmw_agent.web.security.allowed_hosts import AllowedHosts
from memory.conversations.context_window import fit, surplus
from memory.records import ContextMessage, StoredMessage, ToolRecord
from memory.validation import pack_tools
from tests.hostile import text_work
from tests.hostile.growth import grows_no_faster
from tests.hostile.test_held_loop import CONVERSATION
from tests.unit.test_view import stored

# -- judged: no text makes it long ------------------------------------------------

JUDGED: Mapping[str, tuple[str, ...]] = {
    "each round waits for something else, and works on no text": (
        "cmw_agent.channels.common.late_answers.LateAnswer.__call__",
        "cmw_agent.agent.tool_loop.ToolLoop.run",
        "cmw_agent.channels.common.turn_streams._watch",
        "cmw_agent.channels.common.turn_streams.events_until_end",
        "cmw_agent.channels.whatsapp.routes.WhatsApp._take",
        "cmw_agent.channels.whatsapp.approvals.ApprovalPrompts._wait_for_decision",
        "cmw_agent.channels.whatsapp.approvals.ApprovalPrompts.ask",
        "cmw_agent.channels.whatsapp.answering.WhatsAppAnswerer._type",
        "cmw_agent.channels.whatsapp.worker.Worker._leave_untouched",
        "cmw_agent.channels.whatsapp.worker.Worker._run",
        "cmw_agent.chat.service.ChatService._keep",
        "cmw_agent.chat.stored_answer.stored_parts",
        "cmw_agent.files.workers.end_worker",
        "cmw_agent.conversations.importing.imported_files.FileBody.drain",
        "cmw_agent.conversations.importing.imported_files.FileBody.pieces",
        "cmw_agent.conversations.importing.job.ImportJob.lines",
        "cmw_agent.files.uploads.paced",
        "memory.engine.notices.Notices._run",
        "memory.engine.notices.Notices._serve",
        "cmw_agent.runtime.scheduler.Scheduler._work",
        "cmw_agent.runtime.scheduler.Scheduler.rest",
        "cmw_agent.runtime.scheduler.Scheduler.tick",
        "cmw_agent.conversations.sessions.SessionRegistry.session",
        "cmw_agent.llm.coalescing.CoalescedStream.__aiter__",
        "cmw_agent.llm.http_client.Upstream._adapted",
        "cmw_agent.llm.fallback.RunModels._first",
        "cmw_agent.chat.turn.TurnReader.__anext__",
        "cmw_agent.conversations.running_turns.RunningTurns.ended",
        "cmw_agent.llm.reply_reader.ReplyReader.read",
        "cmw_agent.llm.response_body.ResponseBody._join",
        "cmw_agent.llm.response_body.ResponseBody.read",
        "cmw_agent.web.gradio_transport.event_server.EventServer._fetched",
        "cmw_agent.web.gradio_transport.heartbeats.Heartbeats.hold",
        "cmw_agent.web.gradio_transport.heartbeats.disconnected",
        "cmw_agent.web.page.base_handlers.BaseHandlers._page",
        "cmw_agent.web.gradio_transport.mailboxes.EventBuffer.put",
        "cmw_agent.tools.mcp.connection.McpConnection._until_idle",
        "memory.engine.sqlite.SqliteDatabase._merged",
        "memory.engine.process_lock.FileLock.share",
    ),
    "bytes are collected in a bytearray or a list, up to a bound": (
        "cmw_agent.tools.openapi.client._text",
        "cmw_agent.core.bodies.read_request_body",
        "cmw_agent.core.bodies.unpacked",
        "cmw_agent.channels.whatsapp.requests.JsonRequests.stream",
        "cmw_agent.files.extraction._communicate",
        "cmw_agent.files.page_pictures.unpacked",
        "cmw_agent.files.storage.FileStore.receive",
        "cmw_agent.conversations.importing.upload.ExportUploads._write",
        "cmw_agent.conversations.archive_export._read",
        "cmw_agent.conversations.zip_stream._Sink.write",
        "cmw_agent.llm.endpoint.read_error_body",
    ),
    "numbers are added or rounded": (
        "cmw_agent.agent.own.events.RunDrawing._bound",
        "cmw_agent.files.letter_odds.likelihood",
        "cmw_agent.web.page.colours.mixed",
        "cmw_agent.chat.answer.AnswerAccumulator._add_call",
        "cmw_agent.chat.answer.AnswerAccumulator._count",
        "cmw_agent.chat.answer.AnswerAccumulator._end_thought",
        "cmw_agent.chat.answer.AnswerAccumulator.details",
        "cmw_agent.web.page.steps._thinking",
        "cmw_agent.cli.backup.check",
        "cmw_agent.cli.dataset_command._Consented.conversations",
        "cmw_agent.cli.dataset_command._Consented.pages",
        "cmw_agent.limits.budget_use.Hold.grow",
        "cmw_agent.limits.budget_use.BudgetUsage.add",
        "cmw_agent.limits.budget_use.BudgetUsage.record",
        "cmw_agent.channels.common.downloads.Download.stream_response",
        "cmw_agent.channels.whatsapp.routes._age",
        "cmw_agent.files.service.Files.sweep",
        "cmw_agent.conversations.importing.job.ImportJob.state",
        "cmw_agent.conversations.importing.run.ImportRun._begin",
        "cmw_agent.conversations.importing.run.ImportRun._end",
        "cmw_agent.conversations.importing.run.ImportRun._message",
        "cmw_agent.conversations.importing.run.ImportRun._spend",
        "cmw_agent.conversations.importing.report.ImportReport.refuse",
        "cmw_agent.observability.tracing.TurnSpans.tokens_counted",
        "cmw_agent.conversations.sessions.SessionRegistry.expire",
        "cmw_agent.llm.coalescing.FlushInterval._end",
        "cmw_agent.llm.thinking.ThoughtFields._add_detail",
        "cmw_agent.llm.coalescing.next_tick",
        "cmw_agent.chat.context_cache._add",
        "cmw_agent.server.http_protocol.BoundedProtocol.data_received",
        "cmw_agent.chat.turn_runner.TurnRunner._finish",
        "cmw_agent.recording.tape.TurnTape.add",
        "memory.maintenance.retention.Retention._in_batches",
    ),
    "a few entries, bounded by a constant, are looked at": (
        "cmw_agent.tools.mcp.connection._cause",
        "cmw_agent.tools.mcp.offers._all_pages",
        "cmw_agent.tools.mcp.requests.list_tools",
        "cmw_agent.tools.mcp.sign_ins.SignIns._remember",
        "cmw_agent.tools.search.SearchedToolset._found",
        "cmw_agent.web.gradio_transport.protocol.edits",
        "cmw_agent.web.page.rendering.history",
        "cmw_agent.limits.backends.ProcessStorage._put",
        "cmw_agent.limits.backends.ProcessStorage._recent",
        "cmw_agent.core.errors.describe_exception",
        "cmw_agent.observability.loop_watchdog.trail",
        "cmw_agent.llm.http_client.Upstream.learn",
        "cmw_agent.web.login.accounts._evict_oldest",
        "cmw_agent.web.gradio_transport.page_cache.Pages.__call__",
        "memory.engine.group_commit.WriteQueue._taken",
        "cmw_agent.conversations.shares._fitting",
    ),
    "pages of rows, one statement each": (
        "cmw_agent.conversations.importing.recognition._original",
        "cmw_agent.conversations.service.ConversationService.conversations",
        "cmw_agent.conversations.service.ConversationService.messages",
        "cmw_agent.conversations.archive_export.ArchiveExport._files_of",
        "cmw_agent.files.service.Files.all_of",
        "cmw_agent.tools.composio.client.ComposioClient.list_all",
        "memory.conversations.reading.window",
        "memory.conversations.share_copies.copy",
        "memory.conversations.shares._shown",
    ),
    "one copy of what is sent anyway": (
        "cmw_agent.tools.openapi.requests.request_of",
        "cmw_agent.agent.agent.CmwAgent.summarise",
        "cmw_agent.web.gradio_transport.event_server.EventServer._deliver",
        # the whole answer for each of its windows, as Gradio's clients read it
        "cmw_agent.web.page.sending_handlers.SendingHandlers.chat",
    ),
    "orjson reads in linear time, and refuses what is nested too deeply": (
        "cmw_agent.agent.own.recorded._request",
        "cmw_agent.agent.own.recorded_tools._outcome",
        "cmw_agent.agent.own.recorded_tools.recorded_tool.call",
        "cmw_agent.tools.search.named_call",
        "cmw_agent.channels.whatsapp.routes._json",
        "cmw_agent.channels.whatsapp.requests._json",
        "cmw_agent.files.extraction._parse",
        "cmw_agent.llm.sse_template.Template._text",
        "cmw_agent.llm.sse_template.Template.of",
        "cmw_agent.llm.adapted_request.AdaptedRequest.refused_part",
        "cmw_agent.llm.error_details._parsed",
        "cmw_agent.llm.message_forms.decoded",
        "cmw_agent.llm.transcription._text_of",
        "cmw_agent.web.login.consent.ConsentRoutes._pending",
        "cmw_agent.web.gradio_transport.event_server.EventServer._cancel",
        "cmw_agent.web.gradio_transport.event_server.EventServer._join",
        "cmw_agent.web.security.session_binding.bind_body",
        "cmw_agent.web.api.endpoint.body",
        "cmw_agent.web.page.page_request.file_ids",
        "cmw_agent.web.login.id_tokens._signed_claims",
        "cmw_agent.web.login.routes._unpack",
    ),
    "JSON is written in linear time, of values that `sanitize_json` has made shallow": (
        "memory.receipts.digest",
        "cmw_agent.agent.client_tools._on_wire",
        "cmw_agent.channels.embed.routes._approval_item",
        "cmw_agent.channels.whatsapp.approval_text._escape",
        "cmw_agent.channels.whatsapp.approval_text._json",
        "cmw_agent.llm.demo_model._tool_call",
        "cmw_agent.observability.log_config._rendered",
        "cmw_agent.tools.composio.tool_calls.as_text",
        "cmw_agent.tools.composio.toolset._connect_schema",
        "cmw_agent.web.api.approvals._item",
        "memory.conversations.tree_store.TreeStore.fork",
        "memory.manager.ConversationMemoryManager.update_context",
        "memory.conversations.import_store.ImportStore.import_part",
    ),
    "names are compared with one that is longer by its length alone, or has 20 letters at most": (
        "cmw_agent.chat.commands.ChatCommands._named",
        "cmw_agent.chat.commands.ChatCommands.run",
    ),
    "escaped once": (
        "cmw_agent.conversations.export._html_head",
        "cmw_agent.web.login.routes._error_response",
        "cmw_agent.web.page.app_files.AppFiles.offline",
    ),
    "not on the loop of the app: commands, start, a thread of its own": (
        "cmw_agent.tools.openapi.documents._parsed",
        "cmw_agent.tools.openapi.loading._fetched",
        "cmw_agent.tools.openapi.operations._tool_name",
        "cmw_agent.tools.openapi.operations._OperationReader.operation",
        "cmw_agent.tools.openapi.operations._OperationReader._add",
        "cmw_agent.config.settings_digest.settings_digest",
        "cmw_agent.identity.tripwire.Tripwire._check_file",
        "cmw_agent.proof.trials._until_ready",
        "cmw_agent.cli.replay_command._replayed",
        "cmw_agent.proof.replay.cassette._object",
        "cmw_agent.proof.replay.differences._parsed",
        "cmw_agent.proof.replay.differences._pretty",
        "cmw_agent.proof.replay.order.Order.run",
        "cmw_agent.proof.replay.order.Order._is_there",
        "cmw_agent.proof.replay.order.events_of",
        "cmw_agent.proof.replay.order.shuffled_order",
        "cmw_agent.proof.replay.reports.same_lines",
        "cmw_agent.proof.replay.reports.changed_lines",
        "cmw_agent.proof.replay.reports.write_reports",
        "cmw_agent.proof.replay.reports._record",
        "cmw_agent.proof.replay.tools.read_stubs",
        "cmw_agent.recording.redaction.Redaction.json",
        "cmw_agent.recording.redaction.Redaction.stream",
        "cmw_agent.recording.redaction.Redaction._replace.copy",
        "cmw_agent.recording.redaction.Redaction._replace",
        "cmw_agent.recording.redaction._event",
        "cmw_agent.proof.scenario.cells.loaded",
        "cmw_agent.proof.scenario.checks.failure",
        "cmw_agent.proof.scenario.checks._schema_failure",
        "cmw_agent.proof.scenario.judges.verdict",
        "cmw_agent.proof.scenario.judges._read",
        "cmw_agent.proof.scenario.reports.write_reports",
        "cmw_agent.proof.scenario.runner.run_scenario",
        "cmw_agent.proof.scenario.conversation.Conversation._take",
        "cmw_agent.proof.scenario.statistics.fisher.chance",
        "cmw_agent.proof.scenario.statistics.pass_k_of",
        "cmw_agent.proof.scenario.baseline.read_baseline",
        "cmw_agent.proof.scenario.samples.read_samples",
        "cmw_agent.proof.scenario.samples.inspect_lines",
        "cmw_agent.proof.scenario.samples.openai_lines",
        "cmw_agent.conversations.tombstones.Tombstones._records",
        "cmw_agent.proof.receipts.verification._receipt",
        "cmw_agent.proof.storm.chainlit_socket.ChainlitSocket.open",
        "cmw_agent.proof.storm.chainlit_socket.ChainlitSocket.emit",
        "cmw_agent.proof.storm.chainlit_socket.ChainlitSocket.until",
        "cmw_agent.proof.storm.chainlit_socket.ChainlitSocket._poll",
        "cmw_agent.proof.storm.chainlit_socket._value",
        "cmw_agent.proof.storm.control_chainlit._Connection.emit",
        "cmw_agent.proof.storm.control_chainlit.ControlChainlit._poll",
        "cmw_agent.proof.storm.control_chainlit.ControlChainlit._push",
        "cmw_agent.proof.storm.control_chat._put",
        "cmw_agent.proof.storm.control_widget.ControlWidget._message",
        "cmw_agent.proof.storm.control_server.ControlServer._data",
        "cmw_agent.proof.storm.control_server.ControlServer._completion",
        "cmw_agent.proof.storm.event_streams._value",
        "cmw_agent.proof.storm.gradio_chat.GradioTab._applied",
        "cmw_agent.proof.storm.gradio_values._edit",
        "cmw_agent.proof.storm.joined_texts.JoinedTexts.feed",
        "cmw_agent.proof.storm.joined_texts.JoinedTexts.json",
        "cmw_agent.proof.storm.openai.OpenAIChat.attack",
        "cmw_agent.proof.storm.reports.write_reports",
        "cmw_agent.proof.storm.reports.as_dict",
        "cmw_agent.proof.storm.wire.Reply.json",
        "cmw_agent.proof.storm.wire.Wire._heard",
        "cmw_agent.agent.own.held_texts._texts",
        "cmw_agent.agent.own.own_agents.OwnAgents.of",
        "cmw_agent.cli.agent_check.check_agent",
        "cmw_agent.cli.serve.loaded",
        "cmw_agent.web.page.header.brand",
        "cmw_agent.web.page.header.heading",
        "cmw_agent.web.page.header.footer",
        "cmw_agent.web.page.box_tools._button",
        "cmw_agent.web.page.box_tools._answerer",
        "cmw_agent.web.page.box_tools._agents",
        "cmw_agent.web.page.box_tools._models",
        "cmw_agent.web.page.box_tools._efforts",
        "cmw_agent.web.page.document._head",
        "cmw_agent.web.page.document._first_picture",
        "cmw_agent.cli.backup_folder._measured",
        "cmw_agent.cli.commands._run",
        "cmw_agent.cli.commands.database_of",
        "cmw_agent.observability.loop_watchdog.Watchdog._watch",
        "cmw_agent.config.toml_tables.read_values",
        "cmw_agent.config.settings._unknown_names",
        "cmw_agent.config.key_validators._api_key",
        "cmw_agent.config.network_validators.frame_ancestors",
        "cmw_agent.web.security.route_allowlist.Route.pattern",
    ),
    "each entry is put in once and taken out once": (
        "cmw_agent.limits.budget_use.BudgetUsage.expire",
    ),
    "each round serves one of those who wait, or pushes one out, of a number that is bounded": (
        "cmw_agent.limits.budget_use.BudgetUsage.grant",
        "cmw_agent.web.gradio_transport.mailboxes.EventBuffers.open",
    ),
    "one list made of a few": ("cmw_agent.web.login.claims.user_claims",),
    "one pass over a number": ("cmw_agent.conversations.sessions._description",),
    "an error's text, of which 1,200 characters are read": (
        "cmw_agent.llm.adaptation._stands_alone",
        "cmw_agent.llm.error_details.without_quotes",
    ),
    "16 digits at most": ("cmw_agent.channels.whatsapp.inbound.time_of",),
    "one class of characters, in one pass over the number of the app": (
        "cmw_agent.channels.whatsapp.cloud_webhook._items",
    ),
    "measured in test_reply_sizes.py": (
        "cmw_agent.llm.chunks.read_json",
        "cmw_agent.llm.sse.SSEParser.feed",
    ),
    "one JSON value, read or written once": (
        "cmw_agent.conversations.change_feed._unpacked",
        "cmw_agent.llm.text_calls.whole_call",
        "cmw_agent.llm.tool_calls.ToolCalls._on_wire",
    ),
    "each address is taken once; measured in test_whatsapp_text.py": (
        "cmw_agent.channels.whatsapp.formatting._address",
    ),
    "lists and numbers grow, and each piece is a model's own": (
        "cmw_agent.agent.own.graph.GraphRunner._values",
        "cmw_agent.agent.own.graph._drawn",
        "cmw_agent.llm.responses_api.ResponsesReader._arguments",
        "cmw_agent.llm.responses_api.ResponsesReader._ended",
        "cmw_agent.chat.answer.AnswerAccumulator._add_further",
        "cmw_agent.chat.answer.AnswerAccumulator._move_to_thoughts",
        "cmw_agent.web.page.live_answer.LiveAnswer.add",
        "cmw_agent.web.page.live_answer.LiveAnswer._append_text",
        "cmw_agent.web.page.live_answer.LiveAnswer._append_thoughts",
        "cmw_agent.web.page.live_answer.LiveAnswer._move_to_thoughts",
        "cmw_agent.llm.content_scanner.ContentScanner.passes",
        "cmw_agent.llm.message_text.MessageText._grow",
        "cmw_agent.llm.pictures.PictureReader.decode",
        "cmw_agent.llm.responses_api.ResponsesReader._message",
        "cmw_agent.llm.run_events.RunEvents.emit_text",
        "cmw_agent.llm.sources.SourceCollector.add",
        "cmw_agent.llm.thinking.ThoughtFields.add",
    ),
    "measured in test_held_loop.py": (
        "cmw_agent.llm.demo_model._words",
        "cmw_agent.tools.builtin.arithmetic._rounded",
    ),
}

# -- measured: the worst that can be fed to it ------------------------------------


class Case:
    """The worst input of some functions.

    Args:
        functions: The functions that `work` runs through.
        work: Gets the input.
        made: Makes an input of a size in characters.
        size: The largest size; an eighth of it is measured for comparison.
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
    return question(
        PendingApproval("approval", "call", "SEND", {"text": text}, 2.0), languages().english
    )


def heard(kind: Callable[[], Any]) -> Callable[[int], object]:
    def work(count: int) -> object:
        told = kind()
        for _ in range(count):
            told.add(TextDelta("twenty characters ok"))
        return told.text

    return work


def exchanges(size: int) -> list[ContextMessage]:
    return [
        ContextMessage(size - place, "user" if place % 2 else "assistant", "hi")
        for place in range(size)
    ]


def packed(text: str) -> object:
    return pack_tools([ToolRecord("t", "n", {"a": text}, text, ok=True, duration_ms=1)])


def begun(messages: list[StoredMessage]) -> str:
    async def pages() -> AsyncGenerator[list[StoredMessage]]:
        yield messages

    return asyncio.run(beginning(formats(languages().english)["md"], CONVERSATION, pages(), 10**9))


def streamed(text: str) -> object:
    """Return what a model's answer comes to that arrives in small pieces."""
    content = MessageText(RunEvents(lambda _: None), CallsInPieces(), {})
    for start in range(0, len(text), 16):
        content.add(text[start : start + 16])
    content.finish(was_cut=False)
    return content.text


def in_pieces(text: str) -> object:
    calls = CallsInPieces()
    for start in range(0, len(text), 3):
        calls.add(
            {"id": f"{start}", "function": {"name": "", "arguments": text[start : start + 3]}}
        )
    return calls.parse()


def named(ids: list[str]) -> list[str]:
    nothing: Any = None
    context = RunContext("owner", nothing, "", nothing)
    return [context.event_id(call_id) for call_id in ids]


def nested(size: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(size):
        made = {"a": made}
    return made


CASES = {
    "headings": Case(
        "cmw_agent.channels.whatsapp.formatting.whatsapp",
        work=whatsapp,
        made=lambda size: "# " + "**" * (size // 2),
    ),
    "pairs": Case(
        work=whatsapp,
        made=lambda size: "**a** ~~b " * (size // 10),
    ),
    "tables": Case(
        work=whatsapp,
        made=lambda size: "| a |\n|---|\n" * (size // 12),
    ),
    "parts": Case(
        "cmw_agent.channels.whatsapp.formatting.split", work=split, made=lambda s: "` a" * (s // 3)
    ),
    "a question's arguments": Case(
        "cmw_agent.channels.whatsapp.approval_text.question",
        work=tolerant(asked_for, ApprovalNotShowableError),
        made=lambda size: "\u202e" * size,
        size=256_000,
    ),
    "an answer in pieces": Case(work=heard(TurnResult), made=lambda n: n, size=16_000),
    "a completion in pieces": Case(
        work=heard(lambda: ChatCompletionBuilder("m")), made=lambda n: n, size=16_000
    ),
    "arguments that nest": Case(
        "cmw_agent.llm.tool_calls.json_object",
        work=json_object,
        made=lambda size: '{"a":' * (size // 5),
    ),
    "arguments of digits": Case(
        "cmw_agent.llm.tool_calls.json_object",
        work=json_object,
        made=lambda size: '{"a":[' + ("9" * 4_000 + ",") * (size // 4_000) + "1]}",
        size=256_000,
    ),
    "calls in pieces that no index tells apart": Case(
        "cmw_agent.llm.tool_calls.JsonEnd.add",
        "cmw_agent.llm.tool_calls.ToolCalls._add_arguments",
        "cmw_agent.llm.tool_calls.ToolCalls._set_name",
        work=in_pieces,
        made=lambda size: "{}}" * (size // 3),
    ),
    "calls as JSON in a text": Case(
        "cmw_agent.llm.text_calls._json_calls",
        work=lambda text: parse_calls(text, {}),
        made=lambda size: "{} " * (size // 3),
    ),
    "calls as tags in a text": Case(
        "cmw_agent.llm.text_calls._typed",
        work=lambda text: parse_calls(text, {}),
        made=lambda size: "<function=a><parameter=b>1" * (size // 26),
    ),
    **{
        f"an answer of {piece!r}": Case(
            "cmw_agent.llm.content_scanner.ContentScanner._add_text",
            "cmw_agent.llm.content_scanner.ContentScanner._scan",
            "cmw_agent.llm.content_scanner.ContentScanner._scan_text",
            "cmw_agent.llm.content_scanner.ContentScanner._scan_thoughts",
            "cmw_agent.llm.content_scanner.ContentScanner.feed",
            "cmw_agent.llm.message_text.MessageText._retract",
            "cmw_agent.llm.message_text.MessageText.add",
            work=streamed,
            made=lambda size, piece=piece: piece * (size // len(piece)),  # type: ignore[misc]
        )
        for piece in (
            *("<think></think>", "a <think>a</think>a\n", "a<think>", "<think>\n<", "`</think>`"),
            *("`", "``` ", "![", "![a](data:image/png;base64,", "<tool_call></tool_call>", " \n"),
        )
    },
    "an export": Case(
        "cmw_agent.conversations.export._section",
        "cmw_agent.conversations.export._section",
        work=lambda text: formats(languages().english)["html"].page(
            [stored("assistant", text)], is_first=True
        ),
        made=lambda size: "<" * size,
        size=256_000,
    ),
    "the beginning of an export": Case(
        "cmw_agent.conversations.export.beginning",
        work=begun,
        made=lambda size: [stored("assistant", "<" * 100)] * (size // 100),
        size=256_000,
    ),
    "ids of calls that repeat": Case(
        "cmw_agent.agent.tool_loop.RunContext.event_id",
        work=named,
        made=lambda size: ["call_0"] * size,
        size=8_000,
    ),
    "what a question shows": Case(
        "cmw_agent.chat.approval_registry._digest",
        work=lambda text: _digest("owner", "conversation", "SEND", {text: text, "a": [text]}, None),
        made=lambda size: "\0" * size,
        size=256_000,
    ),
    "what a question shows, nested": Case(
        "cmw_agent.chat.approval_registry._digest",
        work=lambda shown: _digest("owner", "conversation", "SEND", shown, None),
        made=nested,
    ),
    "a host's name": Case(
        "cmw_agent.web.security.allowed_hosts._parents",
        work=AllowedHosts(frozenset({"*.example.com"})).allow,
        made=lambda size: "a." * (size // 2),
        size=MAX_HEADER_BYTES,
    ),
    "a file's name": Case(
        "cmw_agent.files.sniffing.clean_name", work=clean_name, made=lambda s: "/" * s
    ),
    "times": Case(
        "cmw_agent.schedules.recurrence._weekdays",
        "cmw_agent.schedules.recurrence.next_runs",
        work=tolerant(parse_recurrence, UnknownTimeError),
        made=lambda size: "every mon in in " * (size // 16),
    ),
    "marks": Case(
        "cmw_agent.core.sanitize._stream_safe",
        "cmw_agent.core.sanitize.normalize_unicode",
        work=lambda text: validate_message(text, 64_000),
        made=lambda size: "a" + ("\u0315" * MAX_MARKS + "\u0300") * (size // (MAX_MARKS + 1)),
    ),
    "sums": Case(
        "cmw_agent.tools.builtin.arithmetic.evaluate",
        work=tolerant(evaluate, ValueError),
        made=lambda size: "(" * size,
    ),
    "a step": Case(
        "cmw_agent.web.page.steps.tool_step",
        work=lambda text: tool_step("t", {"a": [text] * 4}, languages().english, text),
        made=lambda size: "`" * size,
    ),
    "stored calls": Case(
        "memory.validation.check_values", work=packed, made=lambda size: "\\" * size
    ),
    "stored calls of NUL": Case(
        "memory.validation.check_values", work=packed, made=lambda size: "\\u000" * (size // 5)
    ),
    "a window of many messages": Case(
        work=lambda said: fit(said, 10**9),
        made=exchanges,
        size=12_000,
    ),
    "a window that moves": Case(
        "memory.conversations.context_window.surplus",
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
