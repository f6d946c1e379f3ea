"""Receipts of what a model saw for an answer: each holds the hash of the one before it.

A receipt is a JSON object. Its hash is the SHA-256 of all its other fields in one fixed form, so that
whoever has a conversation's receipts can tell whether one was changed, left out or put in.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

HASH, PREVIOUS, COPY_OF = "hash", "previous", "copy_of"


def digest(content: Any) -> str:
    """Return the SHA-256, in hex, of a JSON value with sorted keys, without spaces, in UTF-8."""
    try:
        text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # an integer above 64 bits, half of a surrogate pair
        form = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        text = form.encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()


def sealed(content: Mapping[str, Any], previous: str | None) -> dict[str, Any]:
    """Return a receipt with its place in the chain and its hash.

    Args:
        content: What the model saw.
        previous: The hash of the conversation's receipt before it; None for the first one.
    """
    receipt = {**content, PREVIOUS: previous}
    return {**receipt, HASH: digest(receipt)}


def copied(receipt: Mapping[str, Any], previous: str | None) -> dict[str, Any]:
    """Return the receipt of a copied answer, in the chain of the conversation that has the copy.

    Args:
        receipt: Of the answer that was copied; the copy's names its hash.
        previous: As of `sealed`.
    """
    content = {name: value for name, value in receipt.items() if name not in (HASH, PREVIOUS)}
    return sealed({**content, COPY_OF: receipt.get(HASH)}, previous)


def copies(details: Iterable[Mapping[str, Any] | None]) -> Iterator[dict[str, Any] | None]:
    """Yield the details of copied messages with their receipts in the chain of the copies.

    Args:
        details: Of a conversation's messages that are copied into another one, oldest first.
    """
    previous: str | None = None
    for each in details:
        if not each or not each.get("receipt"):
            yield dict(each) if each else None
            continue
        receipt = copied(each["receipt"], previous)
        previous = receipt[HASH]
        yield {**each, "receipt": receipt}


def broken(receipts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with a conversation's receipts, oldest first; nothing where they hold."""
    faults, before = [], None
    for number, receipt in enumerate(receipts, start=1):
        content = {name: value for name, value in receipt.items() if name != HASH}
        if digest(content) != receipt.get(HASH):
            faults.append(f"receipt {number} was changed: its hash is not that of its content")
        if receipt.get(PREVIOUS) != before:
            faults.append(f"receipt {number} does not follow the one before it")
        before = receipt.get(HASH)
    return faults
