"""The receipt of an answer: what the model was given, by ids and hashes, without any text."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cmw_agent.chat.context_cache import CachedContext
from memory.receipts import digest
from memory.records import ToolRecord, TurnTicket

VERSION = 1


def context_receipt(
    ticket: TurnTicket,
    agent_id: str,
    instructions: str,
    context: CachedContext,
    *,
    file_ids: Sequence[str],
    tools: Sequence[str],
) -> dict[str, Any]:
    """Return what the model is given for an answer.

    Args:
        ticket: The turn's.
        agent_id: The agent.
        instructions: What the model reads before the conversation.
        context: The context window, the question included.
        file_ids: The files whose content stands in it.
        tools: The names of the tools that are offered.
    """
    summary, has_summary = context.summary_before, context.summary_before is not None
    return {
        "version": VERSION,
        "conversation": ticket.conversation_id,
        "question": ticket.user_seq,
        "answer": ticket.answer_seq,
        "agent": agent_id,
        "instructions_sha256": digest(instructions),
        "messages": [message.seq for message in context.messages],
        "messages_sha256": digest([[each.role, each.content] for each in context.messages]),
        "summary_through": context.summarized_through_seq if has_summary else None,
        "summary_sha256": digest(summary) if has_summary else None,
        "files": list(file_ids),
        "tools_offered": len(tools),
        "tools_offered_sha256": digest(sorted(tools)),
    }


def with_answer(
    receipt: dict[str, Any],
    *,
    at: datetime,
    status: str,
    model: str | None,
    text: str,
    tools: Sequence[ToolRecord],
) -> dict[str, Any]:
    """Return a receipt with what came of it.

    Args:
        receipt: What the model was given.
        at: When the answer ended.
        status: How it ended.
        model: The id of the model that answered.
        text: The answer.
        tools: The calls that were made for it.
    """
    return {
        **receipt,
        "at": at.isoformat(timespec="seconds"),
        "status": status,
        "model": model,
        "answer_sha256": digest(text),
        "tools_used": [
            {
                "name": call.name,
                "arguments_sha256": digest(call.arguments),
                "result_sha256": digest(call.result),
                "ok": call.ok,
                **({"account": call.account} if call.account else {}),
            }
            for call in tools
        ],
    }
