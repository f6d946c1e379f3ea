"""Parses when a recurring task runs, as people write it.

Accepted are the five fields of crontab, its words such as ``@daily``, and phrases in each language
of `cmw_agent.schedules.words`::

    every day at 9            daily at 8:30             every day at 9 and 17
    every monday at 8:30      mon-fri at 8              weekdays at 7
    every evening at 8        noon                      every hour
    every 30 minutes          1st of the month 0:15     every year on 1 March at 9

Times are written 9, 9:30, 9am, 9:30 pm or 21:30; days without a time are at nine. After any of
these, `in` and a city or zone name the time zone, as does an offset: `every day at 9 in Berlin`,
`every day at 9 UTC+3`.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from cmw_agent.core.time_zones import find_zone, is_unmistakable
from cmw_agent.schedules.phrase_reader import PhraseReader, tokens_of
from cmw_agent.schedules.recurrence import (
    Recurrence,
    UnknownTimeError,
    UnknownZoneError,
    from_fields,
)
from cmw_agent.schedules.words import lexicons

MAX_CHARS = 200
ZONE_WORDS = 4  # of the longest name of a time zone
CRON_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@midnight": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
    }
)
# What is written in several ways, in the one that is read below.
SPELLINGS: Mapping[str, str | int | None] = MappingProxyType(
    {"ё": "е", "–": "-", "—": "-", "−": "-", "‑": "-", "’": "'", ";": ",", "(": " ", ")": " "}
)

_CRON_NUMBERS = re.compile(r"[0-9*/,-]+")
_HALF_OF_DAY = re.compile(r"\b([ap])\.m\b\.?")


def parse_recurrence(text: str) -> tuple[Recurrence, str | None]:
    """Return the recurrence that `text` describes, and the IANA time zone if it names one.

    Args:
        text: A phrase or five crontab fields; see the module.

    Raises:
        UnknownTimeError: It is neither, or is longer than `MAX_CHARS`.
    """
    if len(text) > MAX_CHARS:
        raise UnknownTimeError
    plain = _HALF_OF_DAY.sub(r"\1m", text.lower().translate(str.maketrans({**SPELLINGS})))
    words = plain.strip(" .!").split()
    words, zone = _without_zone(words)
    cron = CRON_WORDS.get(words[0]) if len(words) == 1 else None
    if cron is not None:
        return from_fields(cron.split()), zone
    if len(words) == 5 and all(_CRON_NUMBERS.fullmatch(word) for word in words[:3]):
        return from_fields(words), zone
    return _from_phrase(words, has_zone=zone is not None), zone


def find_time_zone(name: str) -> str:
    """Return the IANA name of a time zone that is given by its name, a city or an offset.

    Raises:
        UnknownZoneError: There is no such time zone.
    """
    if (zone := find_zone(name)) is None:
        raise UnknownZoneError
    return zone


def _without_zone(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the words before the name of a time zone at the end, and that zone."""
    for count in range(1, min(ZONE_WORDS, len(words) - 1) + 1):
        head, name = list(words[:-count]), list(words[-count:])
        is_named = len(name) > 1 and _means(name[-1], "time zone")
        zone = find_zone(" ".join(name[:-1] if is_named else name))
        is_placed = len(head) > 1 and _means(head[-1], "in")
        if zone is not None and (is_named or is_placed or is_unmistakable(name[0])):
            return head[:-1] if is_placed else head, zone
    return list(words), None


def _means(word: str, meaning: str) -> bool:
    return any(meaning in lexicon.meanings(word) for lexicon in lexicons())


def _from_phrase(words: Sequence[str], *, has_zone: bool) -> Recurrence:
    tokens = tokens_of(" ".join(words))
    reason = UnknownTimeError()
    for lexicon in lexicons():
        try:
            return PhraseReader(lexicon, tokens).recurrence()
        except UnknownTimeError as error:
            if type(error) is not UnknownTimeError or error.sentence != reason.sentence:
                reason = error  # it was read, and says more than that nothing was understood
    if not has_zone and "in" in words[1:]:
        reason = UnknownZoneError()
    raise reason
