"""Descriptions of locations, contacts and stickers: what the model reads of them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cmw_agent.channels.whatsapp.inbound import clean

STICKER = "(sticker)"
MAX_CONTACTS = 20
CARD_LINE = re.compile(r"(?im)^(FN|TEL|EMAIL)[^:\n]{0,200}:([^\n]{1,200})$")
CARD_CHARS = 20_000


def describe_location(fields: Mapping[str, Any]) -> str:
    """Return a location in words, with the names of Meta, of the protocol or of WhatsApp Web."""
    latitude = _first(fields, "latitude", "degreesLatitude", "lat")
    longitude = _first(fields, "longitude", "degreesLongitude", "lng")
    names = (clean(fields.get(name)) for name in ("name", "description", "loc", "address"))
    parts = list(dict.fromkeys(name for name in names if name))
    if latitude is not None and longitude is not None:
        parts.append(f"{latitude}, {longitude}")
    return f"Location: {', '.join(parts)}" if parts else "(location)"


def describe_contacts(contacts: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Return contacts in words, one a line.

    Args:
        contacts: Of each the name, and numbers or addresses.
    """
    lines = []
    for count, (name, details) in enumerate(contacts):
        if count == MAX_CONTACTS:
            lines.append(f"(further contacts are left out; at most {MAX_CONTACTS} are read)")
            break
        parts = [part for part in (clean(name), *map(clean, details)) if part]
        lines.append(f"Contact: {', '.join(parts)}" if parts else "(contact)")
    return "\n".join(lines) or "(contact)"


def read_card(card: object) -> tuple[str, list[str]]:
    """Return the name, and the numbers and addresses, of a contact as a vCard (RFC 6350)."""
    text = card[:CARD_CHARS].replace("\r", "") if isinstance(card, str) else ""
    name, details = "", list[str]()
    for key, value in CARD_LINE.findall(text):
        if key.upper() == "FN":
            name = name or value.strip()
        else:
            details.append(value.strip())
    return name, details


def _first(fields: Mapping[str, Any], *names: str) -> object:
    for name in names:
        value = fields.get(name)
        if isinstance(value, int | float | str) and not isinstance(value, bool) and value != "":
            return clean(value) if isinstance(value, str) else value
    return None
