"""Random steps on the tree of messages: each conversation equals a plain dictionary of messages."""

from pathlib import Path

import pytest

from tests.contract.tree_machine import TIMES, Trees, check

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 * TIMES)]  # many round trips


def test_the_tree_in_a_file_is_the_model_s(tmp_path: Path) -> None:
    check(Trees, f"sqlite:///{tmp_path / 'chat.db'}", 25 * TIMES)


def test_the_tree_on_a_server_is_the_model_s(postgres_server: str) -> None:
    check(Trees, postgres_server, 15 * TIMES)
