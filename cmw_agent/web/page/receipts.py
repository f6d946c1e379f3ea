"""Receipts: the server's reports to the page's outbox on the messages that it has sent.

A receipt is the value of a hidden component, as JSON. The outbox (``static/outbox.js``) removes a
message that a receipt reports as stored; it sends a postponed one again after the receipt's
seconds, with the same key, and shows the receipt's sentence meanwhile.
"""

import orjson

from cmw_agent.core.errors import ConversationInUseError, UserError
from cmw_agent.language import Language

RETRY_SECONDS = 2
SOON_SECONDS = 120  # for so long the page waits for a limit by itself, as in `outbox.js`
NO_CONVERSATION = None  # a control command, which is carried out and not stored


def stored(key: str, conversation_id: str | None) -> str:
    """Return the receipt for a message that is stored, or carried out where it is a command.

    Args:
        key: The message's idempotency key.
        conversation_id: Its conversation.
    """
    return orjson.dumps({"key": key, "conversation": conversation_id}).decode()


def postponed(key: str, error: UserError, language: Language) -> str:
    """Return the receipt for a message that is not stored and must be sent again.

    Args:
        key: The message's idempotency key.
        error: Why it was not stored.
        language: The page's language.
    """
    seconds = error.retry_after or RETRY_SECONDS
    sentence = error.sentence_in(language)
    return orjson.dumps({"key": key, "seconds": seconds, "sentence": sentence}).decode()


def may_succeed_later(error: UserError) -> bool:
    """Return whether the same message may be taken later, without a change by its user."""
    if error.status == 429:
        return error.retry_after is not None and error.retry_after <= SOON_SECONDS
    return error.status == 503 or isinstance(error, ConversationInUseError)
