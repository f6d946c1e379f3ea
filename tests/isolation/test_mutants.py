"""Isolation 2: tests fail when an owner condition is removed from the code."""

import hashlib
import textwrap

import pytest

from tests.isolation.source import ROOT
from tests.mutants.judged import judged
from tests.mutants.source import Mutant, imported_conditions, mutants, mutants_of
from tests.mutants.trials import ON_POSTGRESQL, TESTS, files_for, laboratory

SAMPLE = 2  # of all mutants; `make mutants` tries each

pytestmark = pytest.mark.slow


def sample() -> list[Mutant]:
    """Return some mutants: others whenever the code with a condition changes."""
    found = [mutant for mutant in mutants() if mutant.name not in judged()]
    salt = hashlib.sha256("".join(f"{m.name}{m.line}" for m in found).encode()).hexdigest()
    found.sort(key=lambda mutant: hashlib.sha256((salt + mutant.name).encode()).digest())
    return found[:SAMPLE]


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("mutant", sample(), ids=lambda mutant: mutant.name)
def test_code_without_one_of_its_owner_conditions_fails_the_tests(mutant: Mutant) -> None:
    with laboratory() as place:
        trial = place.run(mutant)
    assert trial.verdict == "killed", f"{mutant.name}\n{trial.output}"


def test_every_judgement_is_of_a_condition_that_is_there() -> None:
    assert judged() <= {mutant.name for mutant in mutants()}


def test_every_condition_has_tests() -> None:
    found = mutants()
    assert len(found) > 50
    assert all(files_for(mutant) for mutant in found)
    assert all(any(m.path.startswith(prefix) for m in found) for prefix, _ in TESTS)
    assert all((ROOT / path).exists() for _, paths in TESTS for path in paths)
    assert {mutant.name for mutant in found} >= set(ON_POSTGRESQL)


def test_tests_that_fail_while_nothing_is_removed_are_no_judges() -> None:
    with laboratory() as place:
        assert place.fault(("tests/there_is_no_such_file.py",)) is not None


def test_a_condition_that_statements_share_is_removed_from_one_of_them() -> None:
    source = textwrap.dedent(
        """
        _OWN = sa.and_(t.c.id == ID, t.c.owner_id == _OWNER)
        _READ = sa.select(t).where(_OWN)
        _DROP = sa.delete(t).where(_OWN)
        """
    ).encode()
    found = mutants_of("memory/example.py", source)
    assert [mutant.name for mutant in found] == [
        "memory/example.py _READ: _OWN",
        "memory/example.py _DROP: _OWN",
    ]
    changed = found[1].applied(source).decode()
    assert "_READ = sa.select(t).where(_OWN)" in changed
    assert (
        "_DROP = sa.delete(t).where("
        "(sa.and_(t.c.id == ID, (t.c.owner_id == _OWNER).is_not(None))))" in changed
    )


def test_no_module_of_memory_imports_an_owner_condition() -> None:
    paths = (ROOT / "memory").rglob("*.py")
    assert not imported_conditions(
        {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}
    )


@pytest.mark.parametrize(
    "use",
    [
        "from memory.rows import OWN\n_READ = sa.select(t).where(OWN)",
        "from memory import rows as own\n_READ = sa.select(t).where(own.OWN)",
        "import memory.rows\n_READ = sa.select(t).where(memory.rows.OWN)",
    ],
)
def test_an_owner_condition_that_another_module_imports_is_found(use: str) -> None:
    rows = b"OWN = sa.and_(t.c.id == ID, t.c.owner_id == _OWNER)\nOPEN = t.c.is_open == _YES"
    more = b"\nfrom memory.rows import OPEN"
    assert imported_conditions(
        {"memory/rows.py": rows, "memory/claims.py": use.encode() + more}
    ) == ["memory/claims.py: memory.rows.OWN"]


def test_comparisons_of_principals_and_written_sql_are_found() -> None:
    source = textwrap.dedent(
        """
        def reach(found, principal):
            if found.principal != principal or principal.kind == "account":
                return None
            return "SELECT ł FROM t WHERE t.owner_id = :of_owner"
        """
    ).encode()
    in_code = mutants_of("cmw_agent/example.py", source)
    assert [mutant.text for mutant in in_code] == ["found.principal != principal"]
    assert b"if False or principal.kind" in in_code[0].applied(source)
    in_sql = mutants_of("memory/example.py", source)[-1]
    assert "WHERE (t.owner_id = :of_owner) IS NOT NULL" in in_sql.applied(source).decode()
