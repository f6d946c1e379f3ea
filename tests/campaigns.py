"""Lengths and seeds of the tests that run longer on request, from the environment."""

import os
from collections.abc import Mapping
from types import MappingProxyType

# The variables, each with its value in `make test`. `tests/conftest.py` leaves them in place.
DEFAULTS: Mapping[str, int] = MappingProxyType(
    {
        "CMW_CONNECTION_CUTS": 12,  # how often a page's connection is cut
        "CMW_DOUBLE_CLICKS": 12,  # how often Send is clicked twice
        "CMW_IMPORT_TRIPS": 4,  # random trees that are exported and imported, on each database
        "CMW_MARKDOWN_DOCS": 60,  # random texts that are drawn in pieces and at once
        "CMW_POOLER_ROUNDS": 10,  # rounds of 25 turns at once behind PgBouncer
        "CMW_SCHEDULES": 12,  # random recurring tasks, over ten years each
        "CMW_SEED": 1,  # of what such a test chooses
        "CMW_SHARERS": 8,  # users who share chats with each other
        "CMW_STATEFUL": 1,  # how many times as many random examples of trees, shares and imports
    }
)


def campaign(name: str) -> int:
    """Return the length or seed that a variable of `DEFAULTS` sets."""
    return int(os.environ.get(name, DEFAULTS[name]))
