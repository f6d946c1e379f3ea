"""Errors a user may see.

Each error carries one sentence for the user and a short random id. The id is the
only link between what the user reads and what the log holds: the sentence never
contains message text, a path, SQL or a secret.
"""

import secrets
import traceback
from pathlib import Path

MAX_FRAMES = 12


def new_error_id() -> str:
    """Return a fresh id of 8 hex digits that ties a user's sentence to a log line."""
    return secrets.token_hex(4)


class UserError(Exception):
    """A failure that is told to the user.

    Args:
        sentence: What happened and what to do next, in plain words, one sentence.
        status: The HTTP status that says the same (4xx the caller's, 5xx ours).
        error_id: Ties the sentence to the log; made when absent.

    `retry_after` are whole seconds until a repetition may succeed, where that is known.
    """

    status = 500
    retry_after: int | None = None
    sentence = "Something went wrong on our side; please try again."

    def __init__(
        self,
        sentence: str | None = None,
        *,
        status: int | None = None,
        error_id: str | None = None,
    ) -> None:
        self.sentence = sentence or type(self).sentence
        self.status = status or type(self).status
        self.error_id = error_id or new_error_id()
        super().__init__(self.sentence)

    def __str__(self) -> str:
        return f"{self.sentence} (error {self.error_id})"


class MissingSessionError(UserError):
    """The request carries no session hash."""

    status = 400
    sentence = "This request names no session; please reload the page."


class MalformedSessionError(UserError):
    """The session key has not the form that the guard gives out."""

    status = 400
    sentence = "This session is not valid; please reload the page."


class UnknownSessionError(UserError):
    """The session is another's, or is not there: the two are not told apart."""

    status = 404
    sentence = "This session was not found; please reload the page."


class NotFoundError(UserError):
    """A conversation or message that is another's, or is not there: told alike."""

    status = 404
    sentence = "This conversation was not found."


class ConversationInUseError(UserError):
    """The conversation has a running turn already."""

    status = 409
    sentence = (
        "An answer is still being written in this conversation; wait for it or stop it first."
    )


class ConversationChangedError(UserError):
    """The conversation has gone on in another tab since this page showed it."""

    status = 409
    sentence = "This conversation has gone on in another tab; please reload the page."


class OverloadedError(UserError):
    """The process runs as many turns, or holds as many sessions, as it may."""

    status = 503
    sentence = "Too many people are chatting right now; please try again in a moment."


class ServiceUnavailableError(UserError):
    """The database or another part of the service cannot be reached."""

    status = 503
    sentence = "Conversations cannot be stored right now; please try again in a moment."


class InvalidMessageError(UserError):
    """The message is empty, too long, or holds characters that no text holds."""

    status = 422
    sentence = "This message cannot be sent."


class ModelFailedError(UserError):
    """The model's server failed; the sentence says how and who can mend it.

    Args:
        sentence: What the user reads.
        kind: A fixed word for logs and metrics, such as ``"rate_limited"``.
    """

    status = 502
    sentence = "The model did not answer; please try again."

    def __init__(self, sentence: str | None = None, *, kind: str = "failed") -> None:
        super().__init__(sentence)
        self.kind = kind


class StartupError(Exception):
    """The app cannot start; the text is one line that says what to change."""


def frames(error: BaseException) -> str:
    """Return types and places of `error` and its causes, without their texts."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(parts) < 5:
        seen.add(id(current))
        status = getattr(current, "status_code", None)
        name = type(current).__name__ + (f"[{status}]" if isinstance(status, int) else "")
        places = traceback.extract_tb(current.__traceback__)[-MAX_FRAMES:]
        trail = " > ".join(f"{Path(p.filename).name}:{p.lineno}:{p.name}" for p in places)
        parts.append(f"{name}({trail})")
        current = current.__cause__ or current.__context__
    return " <- ".join(parts)
