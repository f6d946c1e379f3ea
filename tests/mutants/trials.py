"""Runs the tests of a mutated module in a copy of the project."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tests.isolation.source import ROOT
from tests.mutants.source import Mutant

Verdict = Literal["killed", "survived", "broken"]

SECONDS = 900  # one trial at most; a mutant that hangs the tests is killed by that
COPIED = ("cmw_agent", "memory", "tests", "deploy", "docs", "app.py", "pyproject.toml", "README.md")
SKIPPED = shutil.ignore_patterns("__pycache__", "node_modules")
# Other plugins that are installed cost each trial several seconds, for nothing.
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout")
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", *PLUGINS)
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
SELECTED = ("-k", "not postgresql")  # there, row-level security would hide most of what is missing
# Written for PostgreSQL alone; their tests read as the scope that sees everybody's rows.
ON_POSTGRESQL = (
    "memory/conversations/editing.py _MATCHES: m.owner_id = :owner_id_ #2",
    "memory/conversations/transfer.py _TRANSFER: owner_id = :new_owner #2",
    "memory/conversations/transfer.py _TRANSFER: owner_id = :owner_id_ #2",
)
PASSED, FAILED = 0, 1  # pytest's exit codes

# What tests each part, what fails soonest first. A mutant counts as killed by its first failure.
CONDITIONS = "tests/contract/test_owner_conditions.py"
COMPARISONS = "tests/isolation/test_owner_comparisons.py"
TESTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("memory/connection_rows.py", (CONDITIONS, "tests/contract/test_memory_connections.py")),
    ("memory/conversations/files.py", (CONDITIONS, "tests/contract/test_memory_files.py")),
    ("memory/queues/inbox_rows.py", (CONDITIONS, "tests/contract/test_memory_channels.py")),
    ("memory/logins.py", (CONDITIONS, "tests/isolation/test_login.py")),
    ("memory/mcp_rows.py", (CONDITIONS, "tests/contract/test_memory_mcp.py")),
    (
        "memory/queues/outbox_rows.py",
        (
            CONDITIONS,
            "tests/contract/test_memory_channels.py",
            "tests/contract/test_service_windows.py",
        ),
    ),
    ("memory/queues/window", (CONDITIONS, "tests/contract/test_service_windows.py")),
    ("memory/maintenance/retention.py", (CONDITIONS, "tests/contract/test_retention.py")),
    ("memory/conversations/share", (CONDITIONS, "tests/contract/test_memory_shares.py")),
    ("memory/reports/rated", ("tests/contract/test_rated_answers.py",)),
    ("memory/threads.py", (CONDITIONS, "tests/contract/test_memory_threads.py")),
    ("memory/queues/schedule", (CONDITIONS, "tests/contract/test_memory_schedules.py")),
    ("memory/conversations/transfer.py", (CONDITIONS, "tests/contract/test_memory_transfer.py")),
    ("memory/", (CONDITIONS, "tests/contract/test_memory_owners.py")),
    (
        "cmw_agent/tools/mcp/",
        (
            "tests/mcp/test_sign_in.py",
            "tests/mcp/test_isolation.py",
            "tests/mcp/test_own_servers.py",
        ),
    ),
    ("cmw_agent/tools/", ("tests/unit/test_composio.py", "tests/isolation/test_tools.py")),
    ("cmw_agent/web/login/consent.py", ("tests/isolation/test_consent.py",)),
    ("cmw_agent/web/gradio_transport/mailboxes.py", ("tests/unit/test_mailboxes.py",)),
    ("cmw_agent/conversations/sessions.py", ("tests/unit/test_sessions.py",)),
    (
        "cmw_agent/web/gradio_transport/event_server.py",
        ("tests/isolation/test_login.py", "tests/unit/test_events.py"),
    ),
    ("cmw_agent/chat/titler.py", ("tests/durability/test_titles.py",)),
    ("cmw_agent/conversations/importing/", ("tests/unit/test_import_service.py",)),
    ("cmw_agent/channels/whatsapp/cloud_webhook.py", ("tests/hostile/test_whatsapp_people.py",)),
    ("cmw_agent/proof/storm/", ("tests/storm/test_controls.py",)),
    ("cmw_agent/", (COMPARISONS,)),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """How one mutant fared; `output` is pytest's, for one that survived or could not be run."""

    mutant: Mutant
    verdict: Verdict
    output: str


def files_for(mutant: Mutant) -> tuple[str, ...]:
    """Return the test files and folders that are to kill a mutant."""
    return next(tests for prefix, tests in TESTS if mutant.path.startswith(prefix))


def arguments_for(mutant: Mutant) -> tuple[str, ...]:
    """Return pytest's arguments: on which databases a mutant is tried, and by which tests."""
    selected = ("-k", "postgresql") if mutant.name in ON_POSTGRESQL else SELECTED
    return (*OPTIONS, *selected, *files_for(mutant))


class Laboratory:
    """A copy of the project in which one mutant after the other is tried.

    Args:
        folder: The copy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, mutant: Mutant) -> Trial:
        """Return how a mutant fares; the copy is as before afterwards."""
        path = self._folder / mutant.path
        original = path.read_bytes()
        path.write_bytes(mutant.applied(original))
        try:
            done = self._pytest(arguments_for(mutant))
        except subprocess.TimeoutExpired:
            return Trial(mutant, "killed", "")
        finally:
            path.write_bytes(original)
        verdicts: dict[int, Verdict] = {PASSED: "survived", FAILED: "killed"}
        return Trial(mutant, verdicts.get(done.returncode, "broken"), done.stdout[-2000:])

    def fault(self, arguments: tuple[str, ...]) -> str | None:
        """Return what these tests say of the code as it is, None where they pass.

        Where they do not, they would kill whatever mutant.
        """
        done = self._pytest(arguments)
        return None if done.returncode == PASSED else done.stdout[-2000:]

    def _pytest(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=self._folder,
            env=os.environ | ENVIRONMENT,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


@contextmanager
def laboratory() -> Iterator[Laboratory]:
    """Copy the project for the block."""
    with TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=SKIPPED)
            else:
                shutil.copy2(source, folder / part)
        yield Laboratory(folder)
