"""What users must know of a file that was read: what was cut, left out or guessed.

It is stored with the file as codes, ``code:value:value`` separated by spaces, and told in the language of
whoever looks at the file.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cmw_agent.language import joined, wording, wordings

MAX_CHARS = 400  # of a file's codes
_CODES = re.compile(r"[a-z]+(?::[\w.-]{1,40})*(?: [a-z]+(?::[\w.-]{1,40})*)*", re.ASCII)
_Sentence = Callable[..., str]


_SENTENCES: Final[Mapping[str, _Sentence]] = MappingProxyType(
    {
        "cut": lambda chars: wording("Only its first {chars} characters were read.", chars=chars),
        "window": lambda chars, all_chars: wording(
            "Models are given only its first {chars} of {all} characters.",
            chars=chars,
            all=all_chars,
        ),
        "parts": lambda read, parts: wording(
            "Only the first {read} of its {parts} pages or sheets were read.",
            read=read,
            parts=parts,
        ),
        "empty": lambda: wording("No text was found in it, so models read nothing of it."),
        "pages": lambda shown, without, pages: wording(
            "{without} of its {pages} pages have no text, as in a scan; models that see are shown "
            "pictures of {shown} of them.",
            without=without,
            pages=pages,
            shown=shown,
        ),
        "shown": lambda shown, pictures: wording(
            "It has no text; models that see are shown {shown} of its {pictures} pictures.",
            shown=shown,
            pictures=pictures,
        ),
        "recognised": lambda count: wordings(
            "The text of {count} page was recognised from its picture and may have mistakes.",
            "The text of {count} pages was recognised from their pictures and may have mistakes.",
            count,
        ),
        "encoding": lambda name: wording(
            "It was read as {encoding}, which was guessed.", encoding=name
        ),
        "broken": lambda count: wordings(
            "{count} character of it is damaged.", "{count} characters of it are damaged.", count
        ),
        "sheets": lambda count: wordings(
            "{count} large table is given as a summary and its first rows.",
            "{count} large tables are given as summaries and their first rows.",
            count,
        ),
        "unfinished": lambda count: wordings(
            "There was no time for all rows of {count} of them.",
            "There was no time for all rows of {count} of them.",
            count,
        ),
        "formulas": lambda count: wordings(
            "{count} formula has no stored result and stands as a formula.",
            "{count} formulas have no stored results and stand as formulas.",
            count,
        ),
        "attached": lambda count: wordings(
            "{count} file attached to it was not read.",
            "{count} files attached to it were not read.",
            count,
        ),
        "pictures": lambda count: wordings(
            "{count} picture in it was not read.", "{count} pictures in it were not read.", count
        ),
        "frames": lambda shown, frames: wording(
            "Models are shown only the first {shown} of its {frames} pictures.",
            shown=shown,
            frames=frames,
        ),
    }
)


def checked(codes: object) -> str | None:
    """Return the codes that a worker reported; None if there are none, or they are none.

    Args:
        codes: As the worker wrote them, which may be anything.
    """
    if not isinstance(codes, str) or len(codes) > MAX_CHARS or not _CODES.fullmatch(codes):
        return None
    return codes


def with_window(codes: str | None, chars: int, max_chars: int) -> str | None:
    """Return the codes of a file with that of the limit on what models are given of it.

    Args:
        codes: Those of its reader.
        chars: Length of its text.
        max_chars: Of the text that models are given.
    """
    if chars <= max_chars:
        return codes
    return " ".join(filter(None, (codes, f"window:{max_chars}:{chars}")))


def sentence_of(codes: str | None) -> str | None:
    """Return what a user reads at a file; None where there is nothing to say."""
    return joined(*(_sentence(code) for code in (codes or "").split())) or None


def _sentence(code: str) -> str | None:
    name, *values = code.split(":")
    try:
        return _SENTENCES[name](*_numbers(values))
    except (KeyError, TypeError):
        return None  # of another version


def _numbers(values: Sequence[str]) -> list[object]:
    return [int(value) if value.isascii() and value.isdigit() else value for value in values]
