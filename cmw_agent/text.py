"""What counts as a message: the one check at the door, for every channel."""

import re
import unicodedata

from cmw_agent.errors import InvalidMessage

# C0 and C1 controls but for tab and line ends: no keyboard makes them, terminals and
# databases stumble over them.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Explicit bidirectional controls (Unicode UAX #9) can make text read as what it is not.
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")


def checked_message(text: object, limit: int) -> str:
    r"""Return `text` fit for storing and for the model.

    Line ends become ``\n``, the text is composed (NFC), bidirectional controls and
    surrounding white space are removed.

    Args:
        text: What a client sent.
        limit: Characters at most.

    Raises:
        InvalidMessage: It is no string, is empty, is longer than `limit`, or holds
            control characters (NUL among them) or lone surrogates.
    """
    if not isinstance(text, str):
        raise InvalidMessage("The message must be text.")
    if len(text) > limit:
        raise InvalidMessage(
            f"The message is too long: {len(text):,} characters, at most {limit:,} are taken."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidMessage("The message holds a broken character; please retype it.") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if CONTROLS.search(text):
        raise InvalidMessage("The message holds control characters; please remove them.")
    text = BIDI.sub("", unicodedata.normalize("NFC", text)).strip()
    if not text:
        raise InvalidMessage("The message is empty; please write something first.")
    return text
