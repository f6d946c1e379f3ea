"""What failures of the memory mean to a user."""

import logging

from cmw_agent.core.errors import (
    ConversationChanged,
    ConversationInUse,
    InvalidMessage,
    NotFound,
    Unavailable,
    UserError,
    frames,
)
from memory.errors import (
    ConversationBusy,
    ConversationMoved,
    ConversationNotFound,
    InvalidText,
    UnknownFile,
)

log = logging.getLogger(__name__)

# The process that writes the answer may have died; the turn's lease ends soon, then.
ELSEWHERE = (
    "An answer is still being written in this conversation, or has just broken off; "
    "please try again in ten seconds."
)


def refusal_for(error: BaseException) -> UserError:
    """Return what a failure of the memory means to a user."""
    if isinstance(error, ConversationBusy):
        return ConversationInUse(ELSEWHERE if error.elsewhere else None)
    if isinstance(error, ConversationMoved):
        return ConversationChanged()
    if isinstance(error, ConversationNotFound):
        return NotFound()
    if isinstance(error, UnknownFile):
        return NotFound("An attached file was not found; please attach it again.")
    if isinstance(error, InvalidText):
        return InvalidMessage("The message holds characters that cannot be stored.")
    told = Unavailable()
    log.error("store failed error_id=%s cause=%s", told.error_id, frames(error))
    return told
