"""What failures of the memory mean to a user."""

import logging

from cmw_agent.core.errors import (
    ConversationChangedError,
    ConversationInUseError,
    InvalidMessageError,
    NotFoundError,
    ServiceUnavailableError,
    UserError,
    frames,
)
from memory.errors import (
    ConversationBusyError,
    ConversationMovedError,
    ConversationNotFoundError,
    InvalidTextError,
    UnknownFileError,
)

log = logging.getLogger(__name__)

# The process that writes the answer may have died; the turn's lease ends soon, then.
ELSEWHERE = (
    "An answer is still being written in this conversation, or has just broken off; "
    "please try again in ten seconds."
)


def refusal_for(error: BaseException) -> UserError:
    """Return what a failure of the memory means to a user."""
    if isinstance(error, ConversationBusyError):
        return ConversationInUseError(ELSEWHERE if error.elsewhere else None)
    if isinstance(error, ConversationMovedError):
        return ConversationChangedError()
    if isinstance(error, ConversationNotFoundError):
        return NotFoundError()
    if isinstance(error, UnknownFileError):
        return NotFoundError("An attached file was not found; please attach it again.")
    if isinstance(error, InvalidTextError):
        return InvalidMessageError("The message holds characters that cannot be stored.")
    told = ServiceUnavailableError()
    log.error("store failed error_id=%s cause=%s", told.error_id, frames(error))
    return told
