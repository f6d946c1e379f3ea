"""Errors of the store.

No message of these errors holds text of a user, SQL or a connection's address.
"""


class StoreError(Exception):
    """Base of the errors of this package."""


class ConversationNotFoundError(StoreError):
    """The owner has no such conversation or turn; another owner's gives the same error."""

    def __init__(self) -> None:
        super().__init__("no such conversation")


class ConversationBusyError(StoreError):
    """Another turn of this conversation still runs.

    `elsewhere` says that the turn is of another process, which may have died.
    """

    def __init__(self, *, elsewhere: bool = False) -> None:
        super().__init__("another turn of this conversation is running")
        self.elsewhere = elsewhere


class ConversationMovedError(StoreError):
    """The conversation has changed since the caller last read it."""

    def __init__(self) -> None:
        super().__init__("the conversation has gone on meanwhile")


class MessageNotShownError(StoreError):
    """The message is on a path of its conversation that is not the shown one."""

    def __init__(self) -> None:
        super().__init__("the message is not on the path that is shown")


class NotOwnMessageError(StoreError):
    """The message is an answer, which cannot be edited."""

    def __init__(self) -> None:
        super().__init__("the message is an answer")


class TooManyVersionsError(StoreError):
    """The message has as many versions as one may have."""

    def __init__(self) -> None:
        super().__init__("as many versions as a message may have")


class ForkTooLongError(StoreError):
    """The path up to the message is longer, or has more files, than a fork copies."""

    def __init__(self) -> None:
        super().__init__("more messages or files than are copied")


class PromptNotFoundError(StoreError):
    """The owner has no such saved prompt; another owner's gives the same error."""

    def __init__(self) -> None:
        super().__init__("no such prompt")


class TooManyPromptsError(StoreError):
    """The owner has as many saved prompts as one may have."""

    def __init__(self) -> None:
        super().__init__("as many prompts as one may have")


class InvalidTextError(StoreError):
    """A text that cannot be stored: it holds NUL or half of a surrogate pair."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} holds characters that cannot be stored")
        self.field = field


class UnknownFileError(StoreError):
    """The owner has no such file, or it belongs to a message already.

    Also raised where a message would have too many files.
    """

    def __init__(self) -> None:
        super().__init__("no such file")


class QuotaExceededError(StoreError):
    """Files would exceed a quota.

    `used` is how many bytes the owner's files take now, `bound` the caller's name of the quota.
    """

    def __init__(self, used: int, bound: str) -> None:
        super().__init__("files would take more than they may")
        self.used = used
        self.bound = bound


class TooManySchedulesError(StoreError):
    """A bound on recurring tasks is reached; `bound` is the caller's name of it."""

    def __init__(self, bound: str = "owner") -> None:
        super().__init__("as many recurring tasks as there may be")
        self.bound = bound


class ShareNotFoundError(StoreError):
    """There is no such share: it never was, has expired, was revoked or deleted; one answer for all."""

    def __init__(self) -> None:
        super().__init__("no such share")


class TooManySharesError(StoreError):
    """The owner has as many shares as one may have."""

    def __init__(self) -> None:
        super().__init__("as many shares as there may be")


class ShareTooLargeError(StoreError):
    """The conversation has more messages or characters than a snapshot may have."""

    def __init__(self) -> None:
        super().__init__("the conversation is too large for a share")


class HoldingsChangedError(StoreError):
    """The holdings to transfer to another owner have changed since they were shown."""

    def __init__(self) -> None:
        super().__init__("what was to be transferred has changed")


class LoginExistsError(StoreError):
    """A login of this id exists already; it may have ended."""

    def __init__(self) -> None:
        super().__init__("a login of this id has begun before")


class DatabaseUnavailableError(StoreError):
    """The database cannot be reached, is locked for too long, or is no database at all.

    Nothing was stored, unless the connection broke during the commit itself: repeat with the same
    idempotency key to find out.
    """


class DatabaseFullError(DatabaseUnavailableError):
    """There is no room to write. Reading still works."""


class DatabaseTooNewError(StoreError):
    """The tables were made by a later version of this program, which this one must not touch."""

    def __init__(self, revision: str) -> None:
        super().__init__(f"the database has schema revision {revision!r}, unknown to this version")
        self.revision = revision
