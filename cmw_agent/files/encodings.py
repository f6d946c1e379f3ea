"""Finds the encoding of a text that does not declare one.

UTF-8 and byte order marks settle most texts. Of the encodings that the bytes allow otherwise, the one
whose text is likeliest wins: each letter counts by how often people write it
(`letter_odds`). A statistical detector that reads long texts well guesses wrong on a line of a table.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterator

from cmw_agent.files.letter_odds import likelihood

SAMPLE = 6_000  # bytes by which the candidates are compared
GLANCE = 512  # bytes that are looked at for UTF-16 without a mark
MAX_BROKEN = 0.02  # share of a text in UTF-8 that may be broken and is still UTF-8
MIN_SCORE = -4.6  # for a byte in UTF-16: of random bytes it makes characters, too
# Longer marks first: that of UTF-32 begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UTF_16 = ("utf-16-le", "utf-16-be")
# Of those that read a text alike, the first is named.
CANDIDATES = (
    *("cp1252", "cp1251", "koi8_r", "cp866", "gb18030", "cp932", "euc_jp", "cp949", "big5hkscs"),
    *("cp1250", "iso8859_2", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "koi8_u"),
    *("iso8859_5", "iso8859_15", "mac_cyrillic", "mac_roman", "cp850", "cp852"),
)
NAMES = {
    "cp1252": "Windows-1252",
    "cp1251": "Windows-1251",
    "koi8_r": "KOI8-R",
    "koi8_u": "KOI8-U",
    "gb18030": "GB 18030",
    "cp932": "Shift JIS",
    "euc_jp": "EUC-JP",
    "iso2022_jp": "ISO-2022-JP",
    "cp949": "EUC-KR",
    "big5hkscs": "Big5",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_ISO_2022 = re.compile(rb"\x1b(?:\$[@B]|\([BJI])")


def encoding_of(data: bytes, *, is_whole: bool = True) -> str | None:
    """Return the encoding of a text, as Python names it; None for bytes that are no text.

    Args:
        data: The text, or its beginning.
        is_whole: Whether it ends here; otherwise it may end within a character.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding if decodes(data, encoding, is_whole=is_whole) else None
    has_controls = _CONTROL.search(data) is not None
    if not has_controls:
        if _ISO_2022.search(data) and decodes(data, "iso2022_jp", is_whole=is_whole):
            return "iso2022_jp"
        if decodes(data, "utf-8", is_whole=is_whole) or _is_broken_utf_8(data):
            return "utf-8"
    candidates = UTF_16 if has_controls else (*CANDIDATES, *UTF_16)
    return _likeliest(data, candidates, is_whole=is_whole)


def begins_text(head: bytes) -> str | None:
    """Return about the text of the first bytes of a file; None if they are no text.

    It costs little: letters of old encodings stand for others, and only markup can be looked for.
    """
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return (
                codecs.getincrementaldecoder(encoding)().decode(head)
                if decodes(head, encoding, is_whole=False)
                else None
            )
    if _CONTROL.search(head) is None:
        # Old encodings use no control characters.
        return head.decode("latin-1") or None
    likeliest = _likeliest(head[:GLANCE], UTF_16, is_whole=False)
    return None if likeliest is None else head.decode(likeliest, "replace")


def shown_name(encoding: str) -> str:
    """Return the name of an encoding as people know it."""
    return NAMES.get(encoding, encoding.replace("_", "-").upper())


def decodes(data: bytes, encoding: str, *, is_whole: bool) -> bool:
    """Return whether bytes are valid in an encoding.

    Args:
        data: The bytes.
        encoding: As Python names it.
        is_whole: Whether a character cut at their end is a fault.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, is_whole)
    except UnicodeDecodeError:
        return False
    # A control character is a sign of a wrong guess, which UTF-8 is never.
    return encoding == "utf-8" or _CONTROL_CHARACTER.search(text) is None


def _is_broken_utf_8(data: bytes) -> bool:
    """Whether a text is UTF-8 with a few bytes that are not, such as a cut or joined file."""
    text = data.decode("utf-8", "replace")
    right = sum(1 for character in text if character > "\x7f" and character != "\ufffd")
    broken = text.count("\ufffd")
    return right > broken * 4 and broken <= len(text) * MAX_BROKEN


def _likeliest(data: bytes, candidates: tuple[str, ...], *, is_whole: bool) -> str | None:
    sample = _sample(data)
    is_whole = is_whole and len(data) <= SAMPLE
    scores: dict[str, float] = {}
    for encoding in candidates:
        part = data[:SAMPLE] if encoding in UTF_16 else sample
        # A text of whole units alone: half a unit at the end says that it is none.
        if not decodes(part, encoding, is_whole=is_whole):
            continue
        text = codecs.getincrementaldecoder(encoding)().decode(part)
        if encoding in UTF_16 and not _is_written(text):
            continue
        score = likelihood(text, encoding) / len(part)
        if encoding in UTF_16 and score < MIN_SCORE:
            continue
        scores[encoding] = score
    return max(scores, key=scores.__getitem__) if scores else None


def _is_written(text: str) -> bool:
    """Whether characters are such as people write: of any two bytes UTF-16 makes some character."""
    return all(unicodedata.category(character) not in ("Cn", "Co", "Cs") for character in text)


def _sample(data: bytes) -> bytes:
    """Return the lines that are not ASCII alone: only those differ between encodings."""
    if len(data) <= SAMPLE:
        return data
    return b"".join(_until(_telling(data), SAMPLE)) or data[:SAMPLE]


def _telling(data: bytes) -> Iterator[bytes]:
    for line in data.splitlines(keepends=True):
        if not line.isascii():
            yield line


def _until(lines: Iterator[bytes], room: int) -> Iterator[bytes]:
    for line in lines:
        yield line[:room]
        room -= len(line)
        if room <= 0:
            return
