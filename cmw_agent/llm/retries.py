"""Decides whether a failed request to an endpoint is sent again, and after how many seconds.

The rules are those of the openai SDK, with two differences. A pause of more than `LONGEST_PAUSE`
is not waited for: a person looks at the page meanwhile and holds one of the app's turns, and can
better decide whether to try again. And a read that timed out is not repeated: it would take as
long again.
"""

import math
import random
import re
import time
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz

from cmw_agent.llm.errors import (
    RequestRefusedError,
    StreamCutError,
    StreamRefusedError,
    UnreachableError,
    UpstreamError,
)

MAX_FAILED_REQUESTS = 12  # of one answer: of all its model calls and models
RETRIES = 2  # before the first text of an answer; never after it
RETRIED = frozenset({408, 409, 429})  # and each status from 500
LONGEST_PAUSE = 8.0  # seconds between two tries, also where the server asks for more
HOPELESS = frozenset({"no_credit", "too_long"})  # kinds that no pause changes
INVALID = re.compile(r"invalid_?(request|argument|parameter)|bad_?request", re.IGNORECASE)
TEMPORARY = frozenset({"refused", "server_error", "rate_limited"})  # kinds of errors in streams


class RetryBudget:
    """Bounds how many requests of one answer may fail before nothing is sent again for it.

    Retries, adaptations and fallback models are bounded each: this bounds their sum.

    Attributes:
        failed: Number of failed requests.
    """

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = 0

    @property
    def is_spent(self) -> bool:
        """Whether no further request may follow a failed one."""
        return self.failed >= MAX_FAILED_REQUESTS

    def count(self) -> None:
        """Count a failed request."""
        self.failed += 1


def pause_before_retry(error: BaseException, tries: int) -> float | None:
    """Return the seconds until a request that failed with `error` is sent again; None for never.

    Args:
        error: The failure. No text of the answer may have arrived before it.
        tries: How often the request has been sent so far; the caller bounds it by `RETRIES`.
    """
    if not isinstance(error, UpstreamError) or not _may_help(error):
        return None
    requested = error.retry_after
    if requested is not None and requested > LONGEST_PAUSE:
        return None
    if requested is not None and requested > 0:
        return requested
    # Exponential from half a second, with jitter, so that many turns do not retry at once.
    backoff = min(LONGEST_PAUSE, 0.25 * 2.0**tries)
    return backoff * (0.75 + random.random() / 4)  # noqa: S311


def _may_help(error: UpstreamError) -> bool:
    if error.kind in HOPELESS:
        return False
    if error.should_retry is not None:
        return error.should_retry
    if isinstance(error, RequestRefusedError):
        return error.status_code in RETRIED or error.status_code >= 500
    if isinstance(error, StreamRefusedError):
        details = error.details
        status = details.status if details is not None else None
        if details is not None and INVALID.search(f"{details.code} {details.type}"):
            return False
        return error.kind in TEMPORARY and (status is None or status in RETRIED or status >= 500)
    return error.kind in (UnreachableError.kind, StreamCutError.kind)


def read_advice(error: UpstreamError, headers: Mapping[str, str]) -> None:
    """Note in `error` what the headers of the server's answer say of retries."""
    should_retry = headers.get("x-should-retry", "").strip().lower()
    error.should_retry = {"true": True, "false": False}.get(should_retry)
    error.retry_after = _requested_pause(headers)


def _requested_pause(headers: Mapping[str, str]) -> float | None:
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) / divisor
        except ValueError:
            continue
        return None if math.isnan(seconds) else seconds
    date = parsedate_tz(headers.get("retry-after", ""))
    try:
        return mktime_tz(date) - time.time() if date is not None else None
    except (ValueError, OverflowError):
        return math.inf  # a year that the clock does not know is far away
