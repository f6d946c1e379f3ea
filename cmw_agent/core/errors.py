"""Errors whose text a user may see.

Each error carries one sentence for the user and a short random id. The id is the
only link between the sentence and the log line: the sentence never contains
message text, a path, SQL or a secret.
"""

import secrets
import traceback
from pathlib import Path

from cmw_agent.language import Language, Wording, wording

MAX_FRAMES = 12


def new_error_id() -> str:
    """Return a random id of 8 hex digits that connects the user's sentence with a log line."""
    return secrets.token_hex(4)


class UserError(Exception):
    """A failure that is reported to the user.

    Args:
        sentence: What happened and what to do next, in one sentence; the class's own by default.
        status: HTTP status: 4xx for the caller's fault, 5xx for the server's; the class's own by
            default.
        error_id: Connects the sentence with the log line; random by default.

    Attributes:
        retry_after: Whole seconds until a repetition may succeed, where that is known.
    """

    status = 500
    retry_after: int | None = None
    sentence: str = wording("Something went wrong on our side; please try again.")

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
        return self.report

    @property
    def report(self) -> Wording:
        """The sentence and the id."""
        return wording("{sentence} (error {id})", sentence=self.sentence, id=self.error_id)

    def text(self, language: Language) -> str:
        """Return the sentence and the id in a language."""
        return language.translate(self.report)

    def sentence_in(self, language: Language) -> str:
        """Return the sentence in a language."""
        return language.translate(self.sentence)


class MissingSessionError(UserError):
    """The request carries no session hash."""

    status = 400
    sentence = wording("This request names no session; please reload the page.")


class MalformedSessionError(UserError):
    """The session key does not have the form that the guard produces."""

    status = 400
    sentence = wording("This session is not valid; please reload the page.")


class UnknownSessionError(UserError):
    """The session belongs to another principal or does not exist; both give the same answer."""

    status = 404
    sentence = wording("This session was not found; please reload the page.")


class NotFoundError(UserError):
    """The conversation or message belongs to another principal or does not exist; same answer."""

    status = 404
    sentence = wording("This conversation was not found.")


class ConversationInUseError(UserError):
    """The conversation already has a running turn."""

    status = 409
    sentence = wording(
        "An answer is still being written in this conversation; wait for it or stop it first."
    )


class ConversationChangedError(UserError):
    """The conversation has changed in another tab since this page showed it."""

    status = 409
    sentence = wording("This conversation has gone on in another tab; please reload the page.")


class VersionNotShownError(UserError):
    """The message is on a path of its conversation that is not the shown one."""

    status = 409
    sentence = wording(
        "This message is not in the version of the conversation that is shown; "
        "please show that version first."
    )


class OverloadedError(UserError):
    """The process has reached its maximum of running turns or of live sessions."""

    status = 503
    sentence = wording("Too many people are chatting right now; please try again in a moment.")


class ServiceUnavailableError(UserError):
    """The database or another part of the service cannot be reached."""

    status = 503
    sentence = wording("Conversations cannot be stored right now; please try again in a moment.")


class InvalidMessageError(UserError):
    """The message is empty, too long, or contains characters that are not allowed in text."""

    status = 422
    sentence = wording("This message cannot be sent.")


class ModelFailedError(UserError):
    """The model's server failed; the sentence says how, and who can correct it.

    Args:
        sentence: What the user reads.
        kind: Kind of failure for logs and metrics, such as ``"rate_limited"``.
    """

    status = 502
    sentence = wording("The model did not answer; please try again.")

    def __init__(self, sentence: str | None = None, *, kind: str = "failed") -> None:
        super().__init__(sentence)
        self.kind = kind


class StartupError(Exception):
    """The app cannot start; the message is one line that says what to change."""


def describe_exception(error: BaseException) -> str:
    """Return the types and stack frames of `error` and its causes, without their messages."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(parts) < 5:
        seen.add(id(current))
        status = getattr(current, "status_code", None)
        name = type(current).__name__ + (f"[{status}]" if isinstance(status, int) else "")
        stack = traceback.extract_tb(current.__traceback__)[-MAX_FRAMES:]
        trail = " > ".join(f"{Path(f.filename).name}:{f.lineno}:{f.name}" for f in stack)
        parts.append(f"{name}({trail})")
        current = current.__cause__ or current.__context__
    return " <- ".join(parts)
