"""What `/metrics` says, read as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(exposition: str) -> Series:
    """Return each series' value by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def value(found: Series, metric: str, **labels: str) -> float:
    """Return one series' value."""
    return found[metric, frozenset(labels.items())]
