"""What can go wrong in the store, named for the fact.

No message of these errors holds text of a user, SQL or a connection's address.
"""


class StoreError(Exception):
    """Base of every error this package raises on purpose."""


class ConversationNotFoundError(StoreError):
    """No such conversation or turn, or it is another owner's: the two cannot be told apart."""

    def __init__(self) -> None:
        super().__init__("no such conversation")


class ConversationBusyError(StoreError):
    """Another turn of this conversation still runs.

    `elsewhere` says that another process runs it, or has died with it: its lease will tell.
    """

    def __init__(self, *, elsewhere: bool = False) -> None:
        super().__init__("another turn of this conversation is running")
        self.elsewhere = elsewhere


class ConversationMovedError(StoreError):
    """The conversation has gone on since the caller last saw it."""

    def __init__(self) -> None:
        super().__init__("the conversation has gone on meanwhile")


class InvalidTextError(StoreError):
    """A text that no database stores faithfully: it holds NUL or half of a surrogate pair."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} holds characters that cannot be stored")
        self.field = field


class UnknownFileError(StoreError):
    """No such file, another owner's, or one that a message has already: told alike.

    Also where a message is to have more files than it may.
    """

    def __init__(self) -> None:
        super().__init__("no such file")


class QuotaExceededError(StoreError):
    """Files would take more than they may.

    `used` is what the owner's take now, `bound` says whose would: the caller's own word.
    """

    def __init__(self, used: int, bound: str) -> None:
        super().__init__("files would take more than they may")
        self.used = used
        self.bound = bound


class TooManySchedulesError(StoreError):
    """There are as many recurring tasks as may be; `bound` says whose: the caller's own word."""

    def __init__(self, bound: str = "owner") -> None:
        super().__init__("as many recurring tasks as there may be")
        self.bound = bound


class HoldingsChangedError(StoreError):
    """What was to be transferred to another owner is no longer what was shown."""

    def __init__(self) -> None:
        super().__init__("what was to be transferred has changed")


class LoginExistsError(StoreError):
    """A login of this id has begun before; it may have ended since."""

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
