"""Ten years of runs of random tasks in all time zones, as a clock on the wall would start them.

The reference watches the clock minute by minute on each day that is not 24 hours long. A time that
the clock skips is started when it has been skipped; one that it shows again is not started again.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest

from cmw_agent.schedules.recurrence import HOURS, Recurrence, next_run, parse_crontab
from tests.campaigns import campaign

MOST_RUNS = 9_000  # of one task: of each hour of a year, or of ten years of days
BEGIN, YEARS = date(2026, 12, 1), 10
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ZONES = sorted(zone for zone in available_timezones() if not zone.startswith(("posix/", "right/")))


@dataclass(frozen=True)
class Clock:
    """The clock of a zone: the offset of each ordinary day, and what it shows on the others."""

    offsets: Mapping[date, timedelta]
    changes: tuple[tuple[date, date], ...]  # first and last day around a change


@cache
def clock(zone: str, years: int = YEARS) -> Clock:
    info, offsets = ZoneInfo(zone), dict[date, timedelta]()
    changing = set[date]()
    for number in range(-1, years * 366 + 2):
        day = BEGIN + number * DAY
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        # an offset is less than a day: these two days hold whatever local day has this date
        around = {(begin + count * DAY).astimezone(info).utcoffset() for count in (-1, 0, 1, 2)}
        offsets[day] = around.pop() or timedelta(0)
        if around:
            changing.add(day)
    spans = list[tuple[date, date]]()
    for day in sorted(changing):
        if spans and day == spans[-1][1] + DAY:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return Clock(offsets, tuple(spans))


def reference(task: Recurrence, zone: str) -> Iterator[datetime]:
    """Yield the runs of ten years, in order."""
    watched = {day for first, last in clock(zone).changes for day in days(first, last)}
    spans = dict(clock(zone).changes)
    end = BEGIN + timedelta(days=YEARS * 365)
    for day in days(BEGIN, end):
        if day in spans:
            yield from watch(task, zone, day, spans[day])
        elif day not in watched and task.is_on(day):
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - clock(zone).offsets[day]
            for hour in task.hours:
                for minute in task.minutes:
                    yield midnight + timedelta(hours=hour, minutes=minute)


def days(first: date, last: date) -> Iterator[date]:
    for count in range((last - first).days + 1):
        yield first + count * DAY


def watch(task: Recurrence, zone: str, first: date, last: date) -> Iterator[datetime]:
    """Yield the runs of some days, by looking at the clock each minute."""
    info, every_hour = ZoneInfo(zone), len(task.hours) == HOURS

    def shown(moment: datetime) -> datetime:
        return moment.astimezone(info).replace(tzinfo=None)

    def is_due(wall: datetime) -> bool:
        return task.is_on(wall.date()) and wall.hour in task.hours and wall.minute in task.minutes

    moment = datetime(first.year, first.month, first.day, tzinfo=UTC) - DAY
    latest = shown(moment)
    while (wall := shown(moment)).date() <= last:
        skipped = [latest + MINUTE * count for count in range(1, int((wall - latest) / MINUTE))]
        is_new = wall > latest
        if wall.date() >= first and (
            (is_due(wall) and (is_new or every_hour))
            or (not every_hour and any(map(is_due, skipped)))
        ):
            yield moment
        latest = max(latest, wall)
        moment += MINUTE


def random_task(chance: random.Random) -> Recurrence:
    hours = chance.choice(["*", "0", "1", "2", "23", "0,12", "*/6", str(chance.randrange(24))])
    minutes = chance.choice(["0", "15", "30", "59", str(chance.randrange(60))])
    day, month, weekday = chance.choice(
        [("*", "*", "*")] * 3
        + [
            ("1", "*", "*"),
            (str(chance.randrange(1, 32)), "*", "*"),
            ("*", "*", str(chance.randrange(7))),
        ]
        + [("*", "3,10", "0"), ("*", "*", "1-5"), ("29", "2", "*"), ("*", "*/2", "*")]
    )
    return parse_crontab(f"{minutes} {hours} {day} {month} {weekday}")


def chosen() -> list[tuple[str, Recurrence]]:
    count, chance = campaign("CMW_SCHEDULES"), random.Random(campaign("CMW_SEED"))
    zones = ZONES * (count // len(ZONES) + 1)
    chance.shuffle(zones)
    pairs = [(zone, random_task(chance)) for zone in zones[:count]]
    return list({f"{zone} {task.cron}": (zone, task) for zone, task in pairs}.values())


@pytest.mark.parametrize(
    ("zone", "task"), chosen(), ids=lambda value: str(getattr(value, "cron", value))
)
def test_ten_years_of_runs_are_those_that_a_clock_on_the_wall_starts(
    zone: str, task: Recurrence
) -> None:
    moment: datetime | None = datetime(
        BEGIN.year, BEGIN.month, BEGIN.day, tzinfo=ZoneInfo(zone)
    ) - timedelta(seconds=1)
    for expected in islice(reference(task, zone), MOST_RUNS):
        assert moment is not None
        assert (moment := next_run(task.cron, zone, moment)) == expected


def test_no_zone_loses_a_day_of_a_task_at_half_past_midnight() -> None:
    task = parse_crontab("30 0 * * *")
    for zone in {clock(zone, years=2).changes: zone for zone in ZONES}.values():
        for first, last in clock(zone, years=2).changes:
            moment: datetime | None = datetime(
                first.year, first.month, first.day, tzinfo=ZoneInfo(zone)
            ) - timedelta(seconds=1)
            for expected in watch(task, zone, first, last):
                assert moment is not None
                assert (moment := next_run(task.cron, zone, moment)) == expected, zone
