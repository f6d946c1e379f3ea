"""Names all owners of rows, for a restored database: by design without an owner argument."""

import sqlalchemy as sa

from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.schema import metadata


async def owners_of_rows(database: Database) -> list[str]:
    """Return the owners of all rows, each once. Raises DatabaseUnavailableError."""
    return await database.read(_owners, owner=EVERYONE)


def _owners(connection: sa.Connection) -> list[str]:
    columns = [table.c.owner_id for table in metadata.sorted_tables if "owner_id" in table.c]
    each = [sa.select(column).where(column.is_not(None)) for column in columns]
    return list(connection.execute(sa.union(*each)).scalars())
