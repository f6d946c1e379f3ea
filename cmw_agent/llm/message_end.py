"""Judges how a message ended: what is blank, cut or withheld is no answer."""

from typing import Literal

from langchain_core.messages import AIMessage

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import FinishReason
from cmw_agent.language import wording
from cmw_agent.llm.errors import StreamRefusedError

EndKind = Literal["blank", "withheld", "thoughts_only", "cut_call", "text_call"]
BLANK = wording("The model sent an empty answer; please try again.")
WITHHELD = wording(
    "The model's server withheld the answer because of its rules on content; "
    "please ask in another way."
)
THOUGHTS_ONLY = wording("The model thought, but gave no answer; please try again.")
THOUGHTS_CUT = wording(
    "The model used up its tokens while thinking and gave no answer; "
    "please ask for less at once, or let it think less."
)
CUT_CALL = wording(
    "The model's answer was cut at its limit in the middle of a tool call, which was not made; "
    "please ask for less at once."
)
TEXT_CALL = wording(
    "The model wrote a tool call as text; whoever runs this app can set text_calls = true for it "
    "in agents.toml."
)
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"


def judged(
    message: AIMessage,
    *,
    has_thoughts: bool = False,
    has_pictures: bool = False,
    wrote_calls: bool = False,
) -> AIMessage:
    """Return a message that is an answer or asks for tools; its calls are gone where it was cut.

    Args:
        message: The whole message, with its finish reason in `response_metadata`.
        has_thoughts: Whether the model has thought.
        has_pictures: Whether it has sent pictures.
        wrote_calls: Whether it wrote calls as text, which are neither run nor shown.

    Raises:
        ModelFailedError: The message holds no answer; its kind says why.
        StreamRefusedError: The server said that it failed, and nothing came.
    """
    reason = finish_reason_of(message)
    has_calls = bool(message.tool_calls or message.invalid_tool_calls)
    ran_out = reason not in ("stop", "missing")
    if has_calls and ran_out:
        message.tool_calls, message.invalid_tool_calls = [], []
    # `text` makes an object of its own.
    text = message.content if isinstance(message.content, str) else str(message.text)
    if has_pictures or not is_blank(text):
        if wrote_calls and not has_calls and not ran_out:
            message.response_metadata["finish_reason"] = "error"
        return message
    if has_calls and not ran_out:
        return message
    raise _failure(reason, has_calls, has_thoughts, wrote_calls)


def finish_reason_of(message: AIMessage) -> FinishReason:
    """Return how a message of `cmw_agent.llm.chat_model.complete` ended."""
    reason: FinishReason = message.response_metadata.get("finish_reason", "stop")
    return reason


def is_blank(text: str) -> bool:
    """Return whether `text` has nothing that one can see."""
    return not text or text.isspace() or not text.strip().strip(INVISIBLE).strip()


def _failure(
    reason: FinishReason, has_calls: bool, has_thoughts: bool, wrote_calls: bool
) -> Exception:
    kind: EndKind
    if reason == "error":
        return StreamRefusedError()
    if reason == "content_filter":
        kind, sentence = "withheld", WITHHELD
    elif has_calls or (wrote_calls and reason == "length"):
        kind, sentence = "cut_call", CUT_CALL
    elif wrote_calls:
        kind, sentence = "text_call", TEXT_CALL
    elif has_thoughts or reason == "length":  # some servers hide what the model thinks
        kind = "thoughts_only"
        sentence = THOUGHTS_CUT if reason == "length" else THOUGHTS_ONLY
    else:
        kind, sentence = "blank", BLANK
    return ModelFailedError(sentence, kind=kind)
