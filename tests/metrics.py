"""Parses the exposition of `/metrics` with Prometheus' own parser."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(exposition: str) -> Series:
    """Return the value of each series by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def value(values: Series, metric: str, **labels: str) -> float:
    """Return the value of one series."""
    return values[metric, frozenset(labels.items())]


async def breaches(url: str) -> float:
    """Return how many breaches of isolation an app has counted."""
    async with httpx.AsyncClient() as http:
        found = series((await http.get(f"{url}/metrics")).text)
    return value(found, "cmw_isolation_breaches_total")
