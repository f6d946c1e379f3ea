"""Row scopes: the rows that PostgreSQL's row-level security lets a transaction reach.

Each statement names its owner all the same. A scope adds that a statement which does not reaches
no other owner's rows. See ``docs/adr/0027-row-level-security.md``.
"""

import enum
from dataclasses import dataclass
from typing import Final

OWNER_SETTING, TAKER_SETTING = "cmw.owner", "cmw.taker"
MAINTENANCE_SETTING = "cmw.maintenance"


class Everyone(enum.Enum):
    """The rows of all owners, for maintenance alone."""

    EVERYONE = "everyone"


EVERYONE: Final = Everyone.EVERYONE


@dataclass(frozen=True, slots=True)
class Handover:
    """The rows of two owners: what the first has becomes the second's."""

    giver: str
    taker: str


# An owner's own rows; those of all; those of two; those of nobody.
RowScope = str | Everyone | Handover | None


def begun_with(scope: RowScope) -> str:
    """Return what follows BEGIN in the same message to PostgreSQL; it ends with the transaction."""
    match scope:
        case None:
            return ""
        case Everyone():
            # SET and not a SELECT: a transaction's isolation can still be chosen after it.
            return f"SET LOCAL {MAINTENANCE_SETTING} = 'on'"
        case Handover(giver, taker):
            return f"{_set(OWNER_SETTING, giver)}; {_set(TAKER_SETTING, taker)}"
        case owner:
            return _set(OWNER_SETTING, owner)


def _set(name: str, value: str) -> str:
    # The only text in it is hexadecimal digits: an owner cannot end the literal.
    digits = value.encode().hex()
    return f"SELECT set_config('{name}', convert_from(decode('{digits}', 'hex'), 'UTF8'), true)"
