"""The capacity plan: its simulation agrees with known results, its figures with the documents."""

import dataclasses
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from benchmarks.growth import DAY, HOUR, USERS, Figures, limits, order, report, simulate
from tests.contract.conftest import postgres_server

__all__ = ["postgres_server"]  # a fixture is found by its name here

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"


def units(figures: Figures, name: str) -> float:
    users = 1_000_000.0
    found = limits(simulate(users, figures), users, figures)
    (asked,) = [limit.units for limit in found if limit.name == name]
    return asked


def test_the_same_figures_give_the_same_plan() -> None:
    assert report(10_000, Figures()) == report(10_000, Figures())


@pytest.mark.parametrize("users", [50_000, 5_000_000])
def test_answers_that_run_are_those_that_began_within_the_time_one_lasts(users: int) -> None:
    figures = Figures(answer_tokens=400, token_rate=40)
    mean = users * figures.active * figures.turns * figures.busy_share / HOUR * 10
    peak = simulate(users, figures)
    # Little's law, and not more above it than chance allows
    assert mean <= peak.streams <= mean + 6 * mean**0.5 + 1


def test_the_busiest_hour_is_busier_than_the_others() -> None:
    assert Figures().busy_share > HOUR / DAY


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Figures)])
def test_every_figure_counts(field: str) -> None:
    users = 3_000_000.0
    plain = Figures()
    changed = dataclasses.replace(plain, **{field: getattr(plain, field) * 0.5})

    def needs(figures: Figures) -> list[float]:
        return [limit.units for limit in limits(simulate(users, figures), users, figures)]

    assert needs(changed) != needs(plain)


def test_a_limit_above_which_more_is_needed_says_what_changes() -> None:
    text = report(100_000_000, Figures())
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| what"):
            units = float(line.split("|")[2].replace(",", ""))
            assert ("enough" in line) == (units <= 1)


def test_limits_stand_in_the_order_in_which_they_are_reached() -> None:
    reached = [int(line.split()[1].replace(",", "")) for line in order(Figures()).splitlines()[2:]]
    assert reached == sorted(reached)
    assert len(reached) == len(list(limits(simulate(1, Figures()), 1, Figures())))


@pytest.mark.parametrize("field", ["question_tokens", "answer_tokens"])
def test_longer_texts_take_more_of_the_database(field: str) -> None:
    plain = Figures()
    longer = dataclasses.replace(plain, **{field: getattr(plain, field) + 1_000})
    more = units(longer, "size of one database") / units(plain, "size of one database")
    assert more == pytest.approx(1 + 1_000 * plain.token_bytes / plain.stored)
    assert plain.stored == plain.turn_bytes + 320 * plain.token_bytes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="benchmarks ask Linux for CPU times")
async def test_a_stored_turn_takes_what_the_plan_says(postgres_server: str) -> None:
    from benchmarks.scale import of_a_turn, stored

    name = f"weighed_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres_server)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    url = urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
    by_words = await stored(url, (10, 300), turns=300)
    figures = Figures()
    # so few turns are weighed more coarsely than the plan's
    assert by_words[300] == pytest.approx(figures.stored, rel=0.25)
    assert of_a_turn(by_words)["token_bytes"] == pytest.approx(figures.token_bytes, rel=0.25)


def test_the_document_holds_the_plan_of_today() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for part in (order(Figures()), *(report(users, Figures()) for users in USERS)):
        assert part in text
