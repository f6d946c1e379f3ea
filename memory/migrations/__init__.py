"""Brings the tables to the newest schema, one revision after the other.

The revisions are Alembic's, applied through its objects and not its commands: the commands put
the current migration into globals of the process, so that two databases could not be opened at
once. A revision therefore gets its operations as an argument: `def upgrade(operations)`.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from memory.errors import DatabaseTooNewError

HERE = Path(__file__).parent
# any fixed number: replicas that start together take this lock in turn
_ADVISORY_LOCK = 7_020_061_951_304


def load() -> ScriptDirectory:
    """Return the revisions, their modules imported: that is not to take time under a lock."""
    script = ScriptDirectory(str(HERE))
    for _ in script.walk_revisions():
        pass
    return script


def upgrade(connection: sa.Connection, script: ScriptDirectory) -> None:
    """Apply what is missing, inside the caller's transaction.

    A process killed midway so leaves the schema that it found.
    Raises DatabaseTooNewError when the stored revision is not one of ours.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    context = MigrationContext.configure(connection)
    stored = context.get_current_heads()
    for revision in stored:
        try:
            script.get_revision(revision)
        except CommandError:
            raise DatabaseTooNewError(revision) from None
    missing = list(script.iterate_revisions("heads", stored or None))
    for step in reversed(missing):
        step.module.upgrade(Operations(context))
        context.stamp(script, step.revision)
