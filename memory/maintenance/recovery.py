"""Marks the turns of dead processes as interrupted, over all owners; it returns counts alone."""

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.records import utcnow
from memory.schema import RUNNING, agent_turns


async def interrupt_abandoned(
    database: Database, *, everything: bool, clock: Callable[[], datetime] = utcnow
) -> int:
    """Mark running turns whose lease ran out as interrupted; return how many there were.

    `everything` takes the lease for lost in each running turn: right only when the caller knows
    that no other process uses this database, as at the start of a single one. The answers need
    no change: they are interrupted from the start. Raises DatabaseUnavailableError.
    """
    now = clock()
    due = RUNNING if everything else abandoned(now)
    # A turn whose row another holds is being finished, renewed or marked there. Waiting for
    # it could be waiting in a circle, since two updates lock rows in no common order.
    turn_ids = sa.select(agent_turns.c.turn_id).where(due).with_for_update(skip_locked=True)
    statement = (
        sa.update(agent_turns)
        .where(agent_turns.c.turn_id.in_(turn_ids), due)
        .values(state="interrupted", finished_at=now, questions=None, decisions=None)
    )
    return await database.write(
        lambda connection: connection.execute(statement).rowcount, owner=EVERYONE
    )


def abandoned(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a turn is running and its lease has ended."""
    return sa.and_(RUNNING, agent_turns.c.lease_expires_at <= now)
