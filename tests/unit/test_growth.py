"""The plan for many users rests on a simulation: what it gives is what it was given."""

import dataclasses

import pytest

from benchmarks.growth import DAY, HOUR, Figures, limits, order, report, simulate


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
