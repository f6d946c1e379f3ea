r"""Rejoins characters that a server split over two deltas.

A server that cuts its tokens by UTF-16 units or by bytes sends the halves of one character in
two deltas. Half a surrogate pair arrives as an escape such as ``\ud83d``; bytes that are not UTF-8
arrive as the surrogates that `surrogateescape` makes of them. Neither can be stored or sent on.
"""

import re

REPLACEMENT = "\ufffd"
# The end of a text that may be the first half of a character: a high surrogate, or the first bytes
# of a UTF-8 sequence, as surrogates.
_UNFINISHED = re.compile(
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?"
    "|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})\\Z"
)
_BYTES = re.compile("[\udc80-\udcff]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class TextJoiner:
    """Returns the deltas of one text without lone surrogates; holds back half a character."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def add(self, text: str) -> str:
        """Return the clean text that `text` completes."""
        if not self._held and is_clean(text):
            return text
        text = _with_pairs(self._held + text)
        unfinished = _UNFINISHED.search(text, max(0, len(text) - 3))
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        return clean_text(text[:end])

    def end(self) -> str:
        """Return what is held back, each lone half as U+FFFD."""
        held, self._held = self._held, ""
        return clean_text(held)


def is_clean(text: str) -> bool:
    """Return whether `text` has no surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean_text(text: str) -> str:
    """Return `text` with surrogate pairs and escaped bytes joined, and U+FFFD for the rest."""
    if is_clean(text):
        return text
    return _SURROGATE.sub(REPLACEMENT, _BYTES.sub(_decoded, _with_pairs(text)))


def _with_pairs(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _decoded(run: re.Match[str]) -> str:
    return run.group().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
