"""Errors of calls to a model's server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What a server said of a failure, for the log: no user reads it.

    Args:
        status: HTTP status, where the failure came as one.
        code: OpenAI's `code`, such as ``context_length_exceeded``.
        type: OpenAI's `type`, such as ``insufficient_quota``.
        param: The parameter of the request that the server names.
        message: The first 300 characters of its message, without keys.
    """

    status: int | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    message: str = ""


class UpstreamError(Exception):
    """The model's server failed.

    Args:
        details: What the server said of the failure, if anything.

    Attributes:
        kind: Kind of failure for logs and metrics.
    """

    kind = "failed"

    def __init__(self, details: ErrorDetails | None = None) -> None:
        super().__init__()
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
    """The server reported an error inside the stream."""

    kind = "refused"


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
        self.status_code = status_code
        kinds = {
            401: "unauthorised",
            403: "unauthorised",
            404: "no_such_model",
            408: StreamSilentError.kind,
            429: "rate_limited",
        }
        self.kind = kinds.get(status_code, "server_error" if status_code >= 500 else "rejected")
