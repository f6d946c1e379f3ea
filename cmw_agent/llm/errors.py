"""Errors of calls to a model's server."""

from dataclasses import dataclass, field
from typing import Any

from cmw_agent.llm.error_kinds import kind_of

# Kinds of HTTP errors that say no more than that the server failed.
UNSPECIFIC = frozenset({"rejected", "server_error", "wrong_address", "timeout"})


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What a server said of a failure, for the log: no user reads it.

    Args:
        status: HTTP status, where the failure came as one.
        code: OpenAI's `code`, such as ``context_length_exceeded``.
        type: OpenAI's `type`, such as ``insufficient_quota``.
        param: The parameter of the request that the server names.
        message: The first 300 characters of its message, without keys and without what the
            message quotes of the request.
        text: More of the same message, by which failures are told apart; never logged.
    """

    status: int | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    message: str = ""
    text: str = field(default="", repr=False)


class UpstreamError(Exception):
    """The model's server failed.

    Args:
        details: What the server said of the failure, if anything.

    Attributes:
        kind: Kind of failure for logs and metrics.
        retry_after: Seconds after which the server asks to be asked again, if it says so.
        should_retry: Whether the server wants to be asked again, if it says so.
    """

    kind = "failed"
    retry_after: float | None = None
    should_retry: bool | None = None

    def __init__(self, details: ErrorDetails | None = None) -> None:
        super().__init__()
        self.details: ErrorDetails | None = None
        self.set_details(details)

    def set_details(self, details: ErrorDetails | None) -> None:
        """Replace what the server said of the failure."""
        self.details = details


class StreamCutError(UpstreamError):
    """The connection ended before the answer was complete."""

    kind = "cut"


class StreamSilentError(UpstreamError):
    """No data arrived within the read time-out."""

    kind = "timeout"


class NotAStreamError(UpstreamError):
    """The response is not a stream of chat completion chunks."""

    kind = "not_a_stream"


class StreamRefusedError(UpstreamError):
    """The server reported an error inside the stream.

    Args:
        details: What the server said of the failure, if anything; it decides the kind.
    """

    kind = "refused"

    def set_details(self, details: ErrorDetails | None) -> None:
        """Replace the details, and with them the kind."""
        super().set_details(details)
        kind = kind_of(details.status, details) if details is not None else self.kind
        self.kind = "refused" if kind in UNSPECIFIC else kind


class TooLargeError(UpstreamError):
    """An event or the whole reply is larger than this app reads."""

    kind = "too_large"


class UnreachableError(UpstreamError):
    """No connection could be established."""

    kind = "unreachable"


class RequestRefusedError(UpstreamError):
    """The server answered with an HTTP error.

    Args:
        status_code: HTTP status.
        details: What the server said of the failure, if anything.
    """

    def __init__(self, status_code: int, details: ErrorDetails | None = None) -> None:
        super().__init__(details)
        self.args = (status_code,)
        self.status_code = status_code
        self.kind = kind_of(status_code, details)


class WrongAddressError(UnreachableError):
    """The endpoint's address leads elsewhere: a redirect to another server, or no HTTPS there."""

    kind = "wrong_address"


class CertificateError(UnreachableError):
    """The server's certificate is not trusted, or TLS failed in another way."""

    kind = "certificate"


def log_fields(error: BaseException | None) -> dict[str, Any]:
    """Return what a server said of a failure as fields of a log line.

    Args:
        error: The failure, or an error that it caused.
    """
    failures = (error, error.__cause__ if error is not None else None)
    failure = next((each for each in failures if isinstance(each, UpstreamError)), None)
    details = failure.details if failure is not None else None
    if details is None:
        return {}
    fields = {
        "status": details.status,
        "code": details.code,
        "type": details.type,
        "param": details.param,
        "message": details.message,
    }
    return {name: value for name, value in fields.items() if value}
