"""Reads the tokens of a model call from the forms in which servers report them."""

from collections.abc import Mapping
from typing import Any

from cmw_agent.core.events import UsageReported

INPUT = ("prompt_tokens", "input_tokens", "prompt_eval_count")
OUTPUT = ("completion_tokens", "output_tokens", "eval_count")
CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
DETAILS_OF_INPUT = ("prompt_tokens_details", "input_tokens_details")
DETAILS_OF_OUTPUT = ("completion_tokens_details", "output_tokens_details")
MAX_TOKENS = 1_000_000_000  # more is no count


class UsageReader:
    """The usage of one completion, of which each chunk may report a part.

    Attributes:
        reported: The largest counts so far; None where there are none.
    """

    __slots__ = ("reported",)

    def __init__(self) -> None:
        self.reported: UsageReported | None = None

    def add(self, usage: Any) -> None:
        """Add the `usage` of a chunk: counts that are missing, empty or zero change nothing."""
        if not isinstance(usage, dict) or not usage:
            return
        counts = (
            _count(usage, INPUT),
            _count(usage, OUTPUT),
            _count(usage, CACHED) or _detail(usage, DETAILS_OF_INPUT, "cached_tokens"),
            _count(usage, ("reasoning_tokens",))
            or _detail(usage, DETAILS_OF_OUTPUT, "reasoning_tokens"),
        )
        if not any(counts):
            return
        last = self.reported or UsageReported(0, 0)
        self.reported = UsageReported(
            max(last.input_tokens, counts[0]),
            max(last.output_tokens, counts[1]),
            cached_tokens=max(last.cached_tokens, counts[2]),
            reasoning_tokens=max(last.reasoning_tokens, counts[3]),
        )


def _count(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        value: Any = usage.get(name)
        if type(value) in (int, float) and 0 < value <= MAX_TOKENS:
            return int(value)
    return 0


def _detail(usage: Mapping[str, Any], groups: tuple[str, ...], name: str) -> int:
    for group in groups:
        details = usage.get(group)
        if isinstance(details, dict) and (count := _count(details, (name,))):
            return count
    return 0
