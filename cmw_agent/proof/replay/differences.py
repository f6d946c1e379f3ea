"""Where a replay differs from its recording: the first difference, as a unified diff."""

import difflib
import json
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

MAX_LINES = 60  # of one diff


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    Attributes:
        subject: What differs.
        diff: A unified diff, the recording first.
    """

    subject: str
    diff: str


def of_requests(number: int, recorded: bytes, now: bytes) -> Difference | None:
    """Return how a rendered request differs from the recorded one; None where no byte does.

    Args:
        number: The request's, in the turn.
        recorded: The recorded bytes.
        now: Those of the replay.
    """
    if recorded == now:
        return None
    before, after = _parsed(recorded), _parsed(now)
    name = _messages_key(before, after)
    pairs = zip_longest(before.get(name, ()), after.get(name, ()))
    for position, (one, other) in enumerate(pairs, start=1):
        if one != other:
            role = str((one or other or {}).get("role", "?"))
            subject = f"request {number}, message {position} ({role})"
            return Difference(subject, unified(_pretty(one), _pretty(other)))
    rest = [{key: value for key, value in each.items() if key != name} for each in (before, after)]
    if rest[0] != rest[1]:
        return Difference(f"request {number}, beside its messages", unified(*map(_pretty, rest)))
    return Difference(f"request {number}: its values are the same, its bytes are not", "")


def of_texts(subject: str, recorded: str, now: str) -> Difference | None:
    """Return how a text differs; None where it does not."""
    return None if recorded == now else Difference(subject, unified(recorded, now))


def of_values(subject: str, recorded: Any, now: Any) -> Difference | None:
    """Return how a JSON value differs; None where it does not."""
    if recorded == now:
        return None
    return Difference(subject, unified(_pretty(recorded), _pretty(now)))


def unified(recorded: str, now: str) -> str:
    """Return a unified diff of two texts."""
    lines = list(
        difflib.unified_diff(
            recorded.splitlines(), now.splitlines(), "recorded", "replayed", lineterm="", n=2
        )
    )
    more = len(lines) - MAX_LINES
    return "\n".join([*lines[:MAX_LINES], *([f"… and {more} more lines"] if more > 0 else [])])


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {"": body.decode(errors="replace")}
    return value if isinstance(value, dict) else {"": value}


def _messages_key(*requests: dict[str, Any]) -> str:
    """Return where requests hold their messages; the Responses API calls them its input."""
    is_chat = all(isinstance(each.get("messages"), list) for each in requests)
    return "messages" if is_chat else "input"


def _pretty(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, indent=2, ensure_ascii=False)
