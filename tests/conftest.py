"""Fixtures and hooks of all tests: a clean environment, their order, unchanged log levels."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from cmw_agent.config.settings import Settings, variable
from cmw_agent.config.settings_base import PREFIX
from tests.campaigns import DEFAULTS
from tests.logbook import levels_now

HERE = Path(__file__).parent
LAST = {"durability": 1, "isolation": 2, "hostile": 3, "contract": 4, "unit": 5}
FOREIGN = ("GRADIO_", "LANGSMITH_", "LANGCHAIN_", "OPENAI_", PREFIX)


gc.disable()  # imports and collection make a million objects and hardly any garbage


def _clear_environment() -> None:
    # Before any import of the app, and in each process of pytest-xdist: a developer's own
    # key must never reach a test, nor a test their endpoint.
    settings = {variable(field) for field in Settings.model_fields}
    for name in set(os.environ) - set(DEFAULTS):
        if name in settings or name.startswith(FOREIGN):
            del os.environ[name]


_clear_environment()

# An example's duration depends on how busy the machine is: it says nothing about the code.
hypothesis.settings.register_profile(
    "untimed",
    parent=hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow folders first, so that the processes of pytest-xdist end at about the same time."""
    items.sort(key=lambda item: LAST.get(item.path.relative_to(HERE).parts[0], 0))


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of the garbage collections during the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def _logging_is_left_as_it_was() -> Iterator[None]:
    """Fail a test that changes log levels: a later test could miss the records that it expects."""
    before = levels_now()
    yield
    assert levels_now() == before
