"""Chains an answer's receipt to the one before it. Functions of one connection, of one owner."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from memory.engine.prepared import Prepared
from memory.receipts import HASH, sealed
from memory.schema import agent_messages

_messages = agent_messages.c
_HASH: Final = sa.label("hash", _messages.details[("receipt", HASH)].as_string())

_BEFORE: Final = Prepared(
    sa.select(_HASH)
    .where(
        _messages.session_id == sa.bindparam("conversation_id_"),
        _messages.owner_id == sa.bindparam("owner_id_"),
        _messages.role == "assistant",
        _messages.seq < sa.bindparam("seq_"),
        _HASH.is_not(None),  # commands and imported answers have no receipt
    )
    .order_by(_messages.seq.desc())
    .limit(1)
)


def chained(
    connection: sa.Connection, owner: str, conversation_id: str, seq: int, answer: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the columns of an answer, its receipt sealed with the hash of the one before it.

    Args:
        connection: Within the transaction that ends the turn.
        owner: The owner.
        conversation_id: The conversation.
        seq: The answer's sequence number.
        answer: The columns; without a receipt they are returned as they are.
    """
    details = answer.get("details")
    if not details or not details.get("receipt"):
        return dict(answer)
    own = {"conversation_id_": conversation_id, "owner_id_": owner, "seq_": seq}
    before = _BEFORE.one_or_none(connection, own)
    previous = before.hash if before is not None else None
    return {**answer, "details": {**details, "receipt": sealed(details["receipt"], previous)}}
