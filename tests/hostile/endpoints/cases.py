"""All cases, in the order of their modules."""

from tests.hostile.endpoints import (
    calls,
    dialects,
    ends,
    further_calls,
    further_ends,
    further_reading,
    further_refusals,
    further_thinking,
    reading,
    refusals,
    thinking,
)

_MODULES = (
    ends,
    calls,
    thinking,
    refusals,
    reading,
    dialects,
    further_ends,
    further_calls,
    further_thinking,
    further_reading,
    further_refusals,
)
REPEATABLE = [case for module in _MODULES for case in module.CASES]  # again in a next turn too
ALL = [*REPEATABLE, *further_refusals.ONCE]
