"""Cursors of lists of conversations: the position behind which the next page begins, as text."""

from datetime import UTC, datetime

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.language import wording

NO_PLACE = wording("The list has no such place; send as before what the page before gave as next.")
ZONELESS = wording("The time in before has no zone; send what the page before gave as next.")


class InvalidCursorError(InvalidMessageError):
    """The text is no cursor."""

    sentence = NO_PLACE


def encode_cursor(position: tuple[datetime, str]) -> str:
    """Return the cursor of a conversation's position in the list (`Conversation.position`)."""
    # Without a plus sign, which reads as a space where an address is put together by hand.
    at = position[0].astimezone(UTC).replace(tzinfo=None)
    return f"{at.isoformat()}Z~{position[1]}"


def decode_cursor(text: str | None) -> tuple[datetime, str] | None:
    """Return the position that `encode_cursor` has written; None for no cursor.

    Raises:
        InvalidCursorError: The text is no cursor.
    """
    if text is None:
        return None
    at, _, conversation = text.partition("~")
    try:
        when = datetime.fromisoformat(at)
        if when.tzinfo is None:
            raise InvalidCursorError(ZONELESS)
        return when.astimezone(UTC), conversation
    except (ValueError, OverflowError):
        raise InvalidCursorError from None
