"""Sanitizes a turn's events for storage; rebuilds events from a stored answer."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cmw_agent.chat.turn import CommandReply
from cmw_agent.core.events import (
    AgentEvent,
    ApprovalRequested,
    ApprovalSettled,
    ClientToolsCalled,
    ModelSwitched,
    PictureStored,
    Source,
    SourcesCited,
    TextDelta,
    ThinkingDelta,
    ToolAccount,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
    TurnEvent,
    TurnFinished,
    TurnOutcome,
)
from cmw_agent.core.finish_reasons import known_reason, sentence_for
from cmw_agent.core.sanitize import is_storable, large_integers_as_text, sanitize_json
from cmw_agent.tools.composio.toolset import CONNECT
from memory.records import StoredMessage, ToolRecord

MAX_URL_CHARS, MAX_TITLE_CHARS = 2_000, 300
_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'`]+", re.IGNORECASE)


def storable(event: AgentEvent) -> AgentEvent:
    """Return `event` without the characters that no database stores.

    One such character would keep the whole answer from being stored, and the conversation
    from going on until the lease has run out.
    """
    match event:
        case TextDelta(text):
            return event if is_storable(text) else TextDelta(sanitize_json(text))
        case ThinkingDelta(text):
            return event if is_storable(text) else ThinkingDelta(sanitize_json(text))
        case SourcesCited(sources):
            return SourcesCited(tuple(map(_source, sources)))
        case ModelSwitched(failed, model):
            return ModelSwitched(sanitize_json(failed), sanitize_json(model))
        case ToolStarted(call_id, name, arguments):
            return ToolStarted(sanitize_json(call_id), sanitize_json(name), _plain(arguments))
        case ToolFinished(call_id, name, result):
            return replace(
                event,
                call_id=sanitize_json(call_id),
                name=sanitize_json(name),
                result=sanitize_json(result),
            )
        case ApprovalSettled(call_id, answer, arguments, approval_id):
            return ApprovalSettled(sanitize_json(call_id), answer, _plain(arguments), approval_id)
        case ClientToolsCalled(calls):
            return ClientToolsCalled(tuple(map(_plain, calls)))
        case ApprovalRequested(call_id, name) | ToolProgressed(call_id, name):
            return replace(event, call_id=sanitize_json(call_id), name=sanitize_json(name))
    return event


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = large_integers_as_text(sanitize_json(dict(arguments)))
    return plain


def _source(source: Source) -> Source:
    """Return a source that can be stored and shown; its address is empty where it is none of the web."""
    url = source.url if len(source.url) <= MAX_URL_CHARS else ""
    title = " ".join(source.title[:MAX_TITLE_CHARS].split())
    is_address = _WEB_ADDRESS.fullmatch(url) is not None
    return Source(sanitize_json(url) if is_address else "", sanitize_json(title))


def tool_events(calls: Sequence[ToolRecord]) -> list[TurnEvent]:
    """Return the events of tool calls that have ended."""
    events: list[TurnEvent] = []
    for call in calls:
        events.append(ToolStarted(call.id, call.name, call.arguments))
        seconds = call.duration_ms / 1000
        account = ToolAccount(call.account, call.account_label or "") if call.account else None
        events.append(
            ToolFinished(call.id, call.name, call.result, call.ok, seconds, call.link, account)
        )
    return events


def replayed(stored: StoredMessage) -> list[TurnEvent]:
    """Return the events that reproduce a stored answer, its end included."""
    return [*stored_events(stored), _replayed_end(stored)]


def stored_events(stored: StoredMessage) -> list[TurnEvent]:
    """Return the events that reproduce a stored answer, without a `TurnFinished`."""
    details = stored.details
    events: list[TurnEvent] = []
    if details.switched_from:
        events.append(ModelSwitched(details.switched_from, stored.model_used or ""))
    if stored.thinking:
        events.append(ThinkingDelta(stored.thinking))
    events += tool_events(stored.tool_calls)
    if stored.content:
        events.append(TextDelta(stored.content))
    if details.sources:
        events.append(SourcesCited(tuple(Source(s.url, s.title) for s in details.sources)))
    events += (PictureStored(picture.file_id, picture.name) for picture in details.pictures)
    return events


def _replayed_end(stored: StoredMessage) -> TurnFinished:
    outcome: TurnOutcome = stored.status
    reason = known_reason(stored.finish_reason)
    sentence = sentence_for(reason, stored.details.note)
    return TurnFinished(outcome, sentence, stored.error_id, stored.tokens_used, reason)


def reply_events(reply: CommandReply) -> list[AgentEvent]:
    """Return the events of a command's answer; its link comes as a tool's, as channels expect it."""
    events: list[AgentEvent] = []
    if reply.link is not None:
        call_id = secrets.token_hex(8)
        events.append(ToolStarted(call_id, CONNECT, {"toolkit": reply.toolkit}))
        events.append(ToolFinished(call_id, CONNECT, reply.text, True, 0.0, reply.link))
    return [*events, TextDelta(reply.text)]
