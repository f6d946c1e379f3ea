"""The page of rated answers, for the users whom the settings name: one document that loads nothing."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from jinja2 import Template
from starlette.datastructures import QueryParams

from cmw_agent.conversations.cursors import InvalidCursorError, decode_cursor, encode_cursor
from cmw_agent.conversations.ratings import RATINGS, REASONS
from cmw_agent.llm.pricing import dollars
from cmw_agent.web.api.svg_charts import environment
from memory.records import FeedbackReason
from memory.reports.rated_answers import RatedAnswer, RatedFilter

PAGE_ANSWERS: Final = 30
MAX_DIGITS = 18  # of the number in a cursor
REASON_NAMES: Final[Mapping[FeedbackReason, str]] = MappingProxyType(
    {
        "not_right": "Not right",
        "not_complete": "Not complete",
        "did_not_follow": "Did not do what was asked for",
        "unsafe": "Unsafe or offensive",
        "other": "Something else",
    }
)


@dataclass(frozen=True, slots=True)
class _Link:
    text: str
    query: str
    is_chosen: bool


def wanted(query: QueryParams) -> RatedFilter:
    """Return which answers a request asks for; what it names wrongly it does not ask for.

    Raises:
        InvalidCursorError: Its place in the list is none.
    """
    position = decode_cursor(query.get("before"))
    if position is not None and not _is_number(position[1]):
        raise InvalidCursorError
    return RatedFilter(
        feedback=RATINGS.get(query.get("rating", "")),
        reason=REASONS.get(query.get("reason", "")),
        before=None if position is None else (position[0], int(position[1])),
    )


def rated_page(answers: Sequence[RatedAnswer], chosen: RatedFilter) -> str:
    """Return rated answers as one HTML document that loads nothing else."""
    older = None
    if len(answers) == PAGE_ANSWERS:
        at, number = answers[-1].position
        older = _query(chosen, before=encode_cursor((at, str(number))))
    return _template().render(answers=answers, links=_links(chosen), older=older)


def _links(chosen: RatedFilter) -> list[_Link]:
    links = [_Link("All", "?", chosen.feedback is None and chosen.reason is None)]
    for rating, text in (("like", "Likes"), ("dislike", "Dislikes")):
        is_chosen = chosen.feedback == rating and chosen.reason is None
        links.append(_Link(text, f"?rating={rating}", is_chosen))
    links += [
        _Link(name, f"?reason={reason}", chosen.reason == reason)
        for reason, name in REASON_NAMES.items()
    ]
    return links


def _query(chosen: RatedFilter, **more: str) -> str:
    named = {"rating": chosen.feedback, "reason": chosen.reason}
    return f"?{urlencode({name: value for name, value in named.items() if value} | more)}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS


@functools.cache
def _template() -> Template:
    templates = environment()
    templates.filters |= {"dollars": dollars}
    templates.globals["reasons"] = REASON_NAMES
    return templates.get_template("ratings.html")
