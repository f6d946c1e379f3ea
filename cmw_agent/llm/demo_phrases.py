"""What the demo model understands: a few phrases in English, and in the language that it speaks."""

import datetime as dt
import re
from typing import Final

from cmw_agent.language import Language, Wording, wording

# Each is a list of phrases, parted by bars; a translation has as many as its language needs.
NAME_GIVEN: Final = wording("my name is|i am called")
NAME_ASKED: Final = wording("what is my name|what's my name|who am i")
TIME_ASKED: Final = wording(
    "what time|what the time|what is the time|what's the time|what day|what date|what is the date"
)
IN_A_CITY: Final = wording("in|over in")
ABILITIES: Final = wording("what can you do|what are you able to do|who are you")
COUNT_ASKED: Final = wording("count to")
GREETING: Final = wording("hi|hello|hey|good morning|good day|good evening")

TIME_NAMED = re.compile(r"\b(?:time|date|day)\b", re.IGNORECASE)
WORD = re.compile(r"[^\W\d_][\w'’-]*")
NUMBER = re.compile(r"\d{1,4}\b")
PLACE_BACKWARDS = re.compile(r"[\s?]*([^\W\d][\w/ -]*)")
TOOL_TIME: Final = "%A, %d %B %Y, %H:%M:%S"


def names(text: str, language: Language) -> list[str]:
    """Return the names that a text gives its writer, in their order."""
    ends = [match.end() for match in _phrases(NAME_GIVEN, language).finditer(text)]
    found = [WORD.match(text, end + 1) for end in ends if text[end : end + 1].isspace()]
    return [match[0] for match in found if match is not None]


def asks_for_name(text: str, language: Language) -> bool:
    """Return whether a text asks for its writer's name."""
    return _phrases(NAME_ASKED, language).search(text) is not None


def asks_for_abilities(text: str, language: Language) -> bool:
    """Return whether a text asks what the demo can do."""
    return _phrases(ABILITIES, language).search(text) is not None


def asks_for_time(text: str, language: Language) -> bool:
    """Return whether a text asks for the time or the day."""
    return _phrases(TIME_ASKED, language).search(text) is not None


def city(text: str, language: Language) -> str | None:
    """Return the city in a question such as "What time is it in Tokyo?", or None."""
    line = text.strip().rpartition("\n")[2]
    if not asks_for_time(line, language) and TIME_NAMED.search(line) is None:
        return None
    # Matched backwards, so that the run of letters at the end is scanned once.
    backwards = PLACE_BACKWARDS.match(line[::-1])
    end = backwards[1][::-1] if backwards is not None else ""
    first = _phrases(IN_A_CITY, language).search(end)
    return (end[first.end() :].strip() or None) if first is not None else None


def count(text: str, language: Language) -> int | None:
    """Return the number to which a text asks to count; None where it does not."""
    found = _phrases(COUNT_ASKED, language).search(text)
    number = NUMBER.match(text, found.end() + 1) if found is not None else None
    return int(number[0]) if number is not None else None


def greets(text: str, language: Language) -> bool:
    """Return whether a text begins with a greeting."""
    return _phrases(GREETING, language).match(text.strip()) is not None


def time_in(language: Language, result: str) -> str:
    """Return what the tool `current_time` has given, in a language; as it is where it is no time."""
    moment, _, zone = result.partition(" (")
    try:
        when = dt.datetime.strptime(moment, TOOL_TIME).replace(tzinfo=dt.UTC)
    except ValueError:
        return result
    return f"{language.date(when, 'full')}, {when:%H:%M:%S} ({zone}"


def _phrases(phrases: Wording, language: Language) -> re.Pattern[str]:
    """Return a pattern of phrases in English and in a language; `re` keeps it compiled."""
    texts = f"{phrases}|{language.translate(phrases)}".split("|")
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, texts))})\b", re.IGNORECASE)
