"""Percentiles, computed by the database: it returns only a few rows for each group."""

from collections import defaultdict
from typing import Any

import sqlalchemy as sa

SHARES = (0.5, 0.95)
Percentiles = tuple[float, float]


def by_key(connection: sa.Connection, values: sa.Select[Any]) -> dict[Any, Percentiles]:
    """Return the median and the 95th percentile of the second column by the first.

    Between two values they are interpolated. The second column must hold no NULL.
    """
    if connection.dialect.name == "postgresql":
        return _continuous(connection, values)
    return _ranked(connection, values)


def _continuous(connection: sa.Connection, values: sa.Select[Any]) -> dict[Any, Percentiles]:
    key, value = values.subquery().c
    wanted = (sa.func.percentile_cont(share).within_group(value) for share in SHARES)
    rows = connection.execute(sa.select(key, *wanted).group_by(key))
    return {group: (float(middle), float(high)) for group, middle, high in rows}


def _ranked(connection: sa.Connection, values: sa.Select[Any]) -> dict[Any, Percentiles]:
    key, value = values.subquery().c
    rank = (sa.func.row_number().over(partition_by=key, order_by=value) - 1).label("rank")
    number = sa.func.count().over(partition_by=key).label("number")
    ranked = sa.select(key.label("key"), value.label("value"), rank, number).subquery().c
    # The value before the wanted place and the one after it.
    lower = [sa.cast(share * (ranked.number - 1), sa.Integer) for share in SHARES]
    near = sa.or_(*(ranked.rank.in_([place, place + 1]) for place in lower))
    values_by_group: dict[Any, dict[int, float]] = defaultdict(dict)
    sizes: dict[Any, int] = {}
    rows = connection.execute(
        sa.select(ranked.key, ranked.number, ranked.rank, ranked.value).where(near)
    )
    for group, size, place, measured in rows:
        values_by_group[group][place] = float(measured)
        sizes[group] = size
    return {group: _interpolated(values_by_group[group], size) for group, size in sizes.items()}


def _interpolated(values: dict[int, float], number: int) -> Percentiles:
    def at(share: float) -> float:
        position = share * (number - 1)
        lower = int(position)
        below = values[lower]
        return below + (position - lower) * (values.get(lower + 1, below) - below)

    return at(SHARES[0]), at(SHARES[1])
