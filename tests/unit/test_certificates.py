"""Certificates of isolation: signed, shown with what they are of, and made of what was really run."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cmw_agent.core.certificates import Certificate, Checks, Storm
from cmw_agent.core.code_digests import code_digest, packages_digest
from cmw_agent.core.errors import StartupError
from cmw_agent.proof import trials
from cmw_agent.proof.storm.visitors import Plan
from cmw_agent.server.build import build_app
from tests.harness import served, settings_for

ALL = Checks(made=5, held=5)
SECRET = "s" * 40


def certificate(**changes: Any) -> Certificate:
    values: dict[str, Any] = {
        "version": "1.0",
        "made_at": datetime(2026, 11, 30, tzinfo=UTC),
        "code": code_digest(),
        "packages": packages_digest(),
        "settings": "0" * 64,
        "invariants": ALL,
        "storm": Storm(outcome="clean", users=10, requests=300, bytes_read=4_000, controls=ALL),
        "mutants": ALL,
        "mutants_of": 179,
    }
    return Certificate(**values | changes)


def stored(folder: Path, found: Certificate) -> Path:
    path = folder / "certificate.json"
    path.write_bytes(found.json_bytes())
    return path


def silent(_text: str) -> None:
    """Take a line of progress."""


def test_a_signed_certificate_is_read_as_it_was_written(tmp_path: Path) -> None:
    signed = certificate().signed(SECRET)
    assert Certificate.read(stored(tmp_path, signed)) == signed
    assert signed.holds


@pytest.mark.parametrize(
    "change",
    [
        {"code": "1" * 64},
        {"invariants": {"made": 9, "held": 9}},
        {"made_at": "2027-01-01T00:00:00Z"},
        {"signature": ""},
        {"signature": "not base64"},
        {"public_key": "AAAA"},
    ],
)
def test_a_certificate_that_was_changed_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = stored(tmp_path, certificate().signed(SECRET))
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(StartupError, match="was changed after it had been signed"):
        Certificate.read(path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"form": 2}', '{"form": 1}'])
def test_what_is_no_certificate_ends_the_start_with_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    path.write_text(content)
    with pytest.raises(StartupError, match="is no certificate of this version"):
        Certificate.read(path)
    with pytest.raises(StartupError, match="cannot be read"):
        Certificate.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    "change",
    [
        {"invariants": Checks(made=5, held=4)},
        {"invariants": Checks(made=0, held=0)},
        {"mutants": Checks(made=5, held=4)},
        {"storm": Storm(outcome="leak", users=9, requests=9, bytes_read=9, controls=ALL)},
        {
            "storm": Storm(
                outcome="clean",
                users=9,
                requests=9,
                bytes_read=9,
                controls=Checks(made=5, held=4),
            )
        },
    ],
)
def test_a_certificate_holds_only_where_everything_held(change: dict[str, Any]) -> None:
    assert not certificate(**change).holds


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "proved"),
        ({"invariants": Checks(made=5, held=4)}, "not proved"),
        ({"code": "1" * 64}, "of other code"),
    ],
)
async def test_the_page_and_the_badge_say_what_was_proved_of_what_runs(
    change: dict[str, Any], state: str, tmp_path: Path
) -> None:
    path = stored(tmp_path, certificate(**change).signed(SECRET))
    async with (
        served(settings_for(tmp_path, certificate=path)) as app,
        httpx.AsyncClient(base_url=app.url) as http,
    ):
        page = await http.get("/isolation")
        badge = await http.get("/isolation/badge.svg")
        file = await http.get("/isolation/certificate.json")
    assert page.status_code == badge.status_code == file.status_code == 200
    assert badge.text.strip() in page.text  # drawn in it: the policy of pages loads no pictures
    assert f"isolation: {state}" in badge.text
    assert badge.headers["content-type"] == "image/svg+xml"
    assert Certificate.model_validate_json(file.content) == Certificate.read(path)


async def test_without_a_certificate_there_is_no_such_page(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        httpx.AsyncClient(base_url=app.url) as http,
    ):
        unknown = await http.get("/no-such-page")
        for path in ("/isolation", "/isolation/badge.svg", "/isolation/certificate.json"):
            answer = await http.get(path)
            assert (answer.status_code, answer.content) == (404, unknown.content)


async def test_the_app_does_not_start_with_a_certificate_that_was_changed(tmp_path: Path) -> None:
    path = stored(tmp_path, certificate().signed(SECRET).model_copy(update={"version": "2"}))
    with pytest.raises(StartupError, match="was changed"):
        build_app(settings_for(tmp_path, certificate=path))


async def test_the_tests_of_isolation_are_counted_as_they_end(tmp_path: Path) -> None:
    folder = tmp_path / trials.INVARIANTS
    folder.mkdir(parents=True)
    (folder / "test_some.py").write_text(
        "import pytest\n\n\ndef test_one():\n    pass\n\n\ndef test_two():\n    assert False\n\n\n"
        "@pytest.mark.skip\ndef test_three():\n    pass\n"
    )
    said: list[str] = []
    assert await trials.invariants(tmp_path, said.append) == Checks(made=3, held=1)
    assert said[1:] == [
        f"did not pass: tests.isolation.test_some test_{name}" for name in ("two", "three")
    ]
    (folder / "test_some.py").unlink()
    assert not (await trials.invariants(tmp_path, silent)).hold


async def test_a_mutant_that_no_test_finds_is_counted_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "mutants"
    folder.mkdir(parents=True)
    listed, tried = "a.py A: x == y\nb.py B: x == y", "\nsurvived: b.py B: x == y\n...\n\n"
    (folder / "__main__.py").write_text(
        f"import sys\n\nif '--list' in sys.argv:\n    print({listed!r})\nelse:\n    print({tried!r})\n"
        "    print('1 of 2 mutants killed, 1 survived without a judgement')\n"
    )
    said: list[str] = []
    found = await trials.mutants(tmp_path, 0, 0, said.append)
    assert found == (Checks(made=2, held=1), 2)
    assert said == ["mutants: all", "survived: b.py B: x == y"]


def test_a_seed_chooses_the_same_mutants_again() -> None:
    def chosen(seed: str) -> list[str]:
        arguments = ("-m", "tests.mutants", "--some", "3", "--seed", seed, "--list")
        output = subprocess.run(
            [sys.executable, *arguments], cwd=trials.checkout(), check=True, capture_output=True
        ).stdout
        return output.decode().splitlines()

    assert len(chosen("1")) == 3
    assert chosen("1") == chosen("1") != chosen("2")


@pytest.mark.slow
async def test_the_app_by_itself_stands_a_storm() -> None:
    found = await trials.storm(trials.checkout(), Plan(users=3, turns=1), silent)
    assert found.outcome == "clean"
    assert found.controls.hold
    assert found.bytes_read > 10_000
