"""What failures of the memory mean to a user."""

import contextlib
from collections.abc import Iterator

from cmw_agent.core.errors import (
    ConversationChangedError,
    ConversationInUseError,
    InvalidMessageError,
    NotFoundError,
    ServiceUnavailableError,
    UserError,
    VersionNotShownError,
    describe_exception,
)
from cmw_agent.core.logs import get_logger
from cmw_agent.language import wording
from memory.errors import (
    ConversationBusyError,
    ConversationMovedError,
    ConversationNotFoundError,
    ForkTooLongError,
    InvalidTextError,
    MessageNotShownError,
    NotOwnMessageError,
    PromptNotFoundError,
    StoreError,
    TooManyVersionsError,
    UnknownFileError,
)

log = get_logger(__name__)

# The process that writes the answer may have died; the turn's lease ends soon, then.
ELSEWHERE = wording(
    "An answer is still being written in this conversation, or has just broken off; "
    "please try again in ten seconds."
)
TOO_MANY_VERSIONS = wording(
    "This message has as many versions as one may have; please send a new message instead."
)


@contextlib.contextmanager
def mapped_store_errors() -> Iterator[None]:
    """Raise what fails in the memory during the block as the `UserError` that it means."""
    try:
        yield
    except StoreError as error:
        raise refusal_for(error) from error


def refusal_for(error: BaseException) -> UserError:
    """Return what a failure of the memory means to a user; one that is nobody's fault is logged."""
    if isinstance(error, ConversationBusyError):
        return ConversationInUseError(ELSEWHERE if error.elsewhere else None)
    if isinstance(error, ConversationMovedError):
        return ConversationChangedError()
    if isinstance(error, ConversationNotFoundError | PromptNotFoundError):
        return NotFoundError()
    if isinstance(error, MessageNotShownError):
        return VersionNotShownError()
    if isinstance(error, NotOwnMessageError):
        return InvalidMessageError(wording("Only your own messages can be edited."))
    if isinstance(error, TooManyVersionsError):
        return InvalidMessageError(TOO_MANY_VERSIONS, status=409)
    if isinstance(error, ForkTooLongError):
        return InvalidMessageError(
            wording("This conversation is too long to be copied up to here.")
        )
    if isinstance(error, UnknownFileError):
        return NotFoundError(wording("An attached file was not found; please attach it again."))
    if isinstance(error, InvalidTextError):
        return InvalidMessageError(wording("The message holds characters that cannot be stored."))
    user_error = ServiceUnavailableError()
    log.error("store failed", error_id=user_error.error_id, cause=describe_exception(error))
    return user_error
