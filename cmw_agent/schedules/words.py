"""The words of each language in which people say when a recurring task runs.

They come from the catalogues. A meaning's words are one text there, each ended by ``|``, in lower
case and with all their forms; a language may have one word for several meanings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from cmw_agent.language import Language, Wording, languages, wording

WORDS: Mapping[str, Wording] = MappingProxyType(
    {
        "every": wording("every|each|"),
        "once": wording("once|"),
        "at": wording("at|@|"),
        "in": wording("in|"),
        "filler": wording("on|of|the|from|a|an|in|o'clock|oclock|sharp|and|"),
        "and": wording("and|&|"),
        "to": wording("to|through|thru|till|until|"),
        "ordinal": wording("st|nd|rd|th|"),
        "date": wording("date|"),
        "time zone": wording("time|"),
        "hour": wording("hour|hours|h|hr|hrs|"),
        "minute": wording("minute|minutes|min|mins|"),
        "hourly": wording("hourly|"),
        "half": wording("half|"),
        "half hour": wording("half-hourly|"),
        "day": wording("day|days|daily|everyday|"),
        "week": wording("week|weeks|weekly|"),
        "month": wording("month|months|monthly|"),
        "year": wording("year|years|yearly|annually|"),
        "weekdays": wording("weekday|weekdays|workday|workdays|working|business|"),
        "weekend": wording("weekend|weekends|"),
        "noon": wording("noon|midday|"),
        "midnight": wording("midnight|"),
        "am": wording("am|"),
        "pm": wording("pm|"),
        "morning": wording("morning|mornings|"),
        "afternoon": wording("afternoon|afternoons|"),
        "evening": wording("evening|evenings|"),
        "night": wording("night|nights|"),
        "mon": wording("mon|monday|mondays|"),
        "tue": wording("tue|tues|tuesday|tuesdays|"),
        "wed": wording("wed|wednesday|wednesdays|"),
        "thu": wording("thu|thur|thurs|thursday|thursdays|"),
        "fri": wording("fri|friday|fridays|"),
        "sat": wording("sat|saturday|saturdays|"),
        "sun": wording("sun|sunday|sundays|"),
        "jan": wording("jan|january|"),
        "feb": wording("feb|february|"),
        "mar": wording("mar|march|"),
        "apr": wording("apr|april|"),
        "may": wording("may|"),
        "jun": wording("jun|june|"),
        "jul": wording("jul|july|"),
        "aug": wording("aug|august|"),
        "sep": wording("sep|sept|september|"),
        "oct": wording("oct|october|"),
        "nov": wording("nov|november|"),
        "dec": wording("dec|december|"),
        "first": wording("first|"),
        "second": wording("second|"),
        "third": wording("third|"),
        "1": wording("one|"),
        "2": wording("two|"),
        "3": wording("three|"),
        "4": wording("four|"),
        "5": wording("five|"),
        "6": wording("six|"),
        "7": wording("seven|"),
        "8": wording("eight|"),
        "9": wording("nine|"),
        "10": wording("ten|"),
        "11": wording("eleven|"),
        "12": wording("twelve|"),
    }
)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words of one language by meaning.

    Args:
        words: The meanings of each word.
    """

    words: Mapping[str, frozenset[str]]

    def meanings(self, word: str) -> frozenset[str]:
        """Return what a word may mean; nothing for an unknown one."""
        return self.words.get(word, frozenset())


@cache
def lexicons() -> tuple[Lexicon, ...]:
    """Return the lexicon of each language of the app."""
    return tuple(_lexicon(language) for language in languages().all)


def _lexicon(language: Language) -> Lexicon:
    meanings: dict[str, set[str]] = {}
    for meaning, words in WORDS.items():
        for word in filter(None, language.translate(words).split("|")):
            meanings.setdefault(word, set()).add(meaning)
    return Lexicon(MappingProxyType({word: frozenset(ids) for word, ids in meanings.items()}))
