"""Recurrence: parsing of what people write, and the due times in their time zone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmw_agent.core.time_zones import zone_label
from cmw_agent.language import languages
from cmw_agent.schedules.phrases import find_time_zone, parse_recurrence
from cmw_agent.schedules.recurrence import UnknownTimeError, next_run, next_runs, parse_crontab

WORDS = {
    "every day at 9": "0 9 * * *",
    "Daily at 8:30.": "30 8 * * *",
    "every day at 9 and 17": "0 9,17 * * *",
    "every day at 12am": "0 0 * * *",
    "every day at 9:15 pm": "15 21 * * *",
    "every monday at 8:30": "30 8 * * mon",
    "on Mondays and Fridays at 7": "0 7 * * mon,fri",
    "every tue, wed and thu at 12": "0 12 * * tue-thu",
    "weekdays at 7": "0 7 * * mon-fri",
    "every weekday at 7": "0 7 * * mon-fri",
    "weekends at 10": "0 10 * * sat-sun",
    "every hour": "0 * * * *",
    "every 8 hours": "0 0,8,16 * * *",
    "every 30 minutes": "0,30 * * * *",
    "every month on the 1st at 9": "0 9 1 * *",
    "0 9 * * 1-5": "0 9 * * mon-fri",
    "0 9 * * 0": "0 9 * * sun",
    "0 9 * * 7": "0 9 * * sun",
    "0 9 * * FRI-sun": "0 9 * * fri-sun",
    "mon-fri at 9": "0 9 * * mon-fri",
    "Mon – Fri at 9:30": "30 9 * * mon-fri",
    "from Friday through Monday at 18:00": "0 18 * * mon,fri-sun",
    "noon": "0 12 * * *",
    "every day at noon": "0 12 * * *",
    "at midnight": "0 0 * * *",
    "every Monday": "0 9 * * mon",
    "every day": "0 9 * * *",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@weekly": "0 0 * * sun",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "first of the month 0:15": "15 0 1 * *",
    "1st and 15th of each month at 9": "0 9 1,15 * *",
    "day 15 of the month at 9": "0 9 15 * *",
    "every year on 1 March at 9": "0 9 1 3 *",
    "every evening at 8": "0 20 * * *",
    "every morning": "0 9 * * *",
    "every day at 9 p.m.": "0 21 * * *",
    "at 0900": "0 9 * * *",
    "every half an hour": "0,30 * * * *",
    "once an hour": "0 * * * *",
    "hourly": "0 * * * *",
    "weekly on fri at 17": "0 17 * * fri",
    "каждый день в 9": "0 9 * * *",
    "Ежедневно в 9:30": "30 9 * * *",
    "каждый день в 9 часов утра": "0 9 * * *",
    "в 9 вечера каждый день": "0 21 * * *",
    "каждый день в 21 час": "0 21 * * *",
    "каждый день в 12 ночи": "0 0 * * *",
    "каждую субботу в 12 дня": "0 12 * * sat",
    "в девять каждый день": "0 9 * * *",
    "каждый день в 9 и в 21": "0 9,21 * * *",
    "каждый вечер в 8": "0 20 * * *",
    "каждое утро": "0 9 * * *",
    "по понедельникам в 9:30": "30 9 * * mon",
    "в 9.30 по понедельникам": "30 9 * * mon",
    "по понедельникам и средам в 18:00": "0 18 * * mon,wed",
    "с понедельника по пятницу в 9": "0 9 * * mon-fri",
    "пн–пт в 9": "0 9 * * mon-fri",
    "пн, ср, пт в 10:00": "0 10 * * mon,wed,fri",
    "по будням в 9": "0 9 * * mon-fri",
    "по рабочим дням в 8:30": "30 8 * * mon-fri",
    "по выходным в 11": "0 11 * * sat-sun",
    "каждый час": "0 * * * *",
    "раз в два часа": "0 0,2,4,6,8,10,12,14,16,18,20,22 * * *",
    "каждые 30 минут": "0,30 * * * *",
    "каждые полчаса": "0,30 * * * *",
    "в полдень": "0 12 * * *",
    "1-го числа в 0:15": "15 0 1 * *",
    "1 и 15 числа в 12:00": "0 12 1,15 * *",
    "первого числа каждого месяца в 9": "0 9 1 * *",
    "каждый год 1 марта в 9": "0 9 1 3 *",
    "один раз в день в 9": "0 9 * * *",
    "*/20 6 * jan,jul *": "0,20,40 6 * 1,7 *",
    "0 9 * * sun-thu": "0 9 * * mon-thu,sun",
    "0 9 * * fri-mon": "0 9 * * mon,fri-sun",
    "5/25 0-23 1-31 1-12 *": "5,30,55 * * * *",
}


@pytest.mark.parametrize(("text", "cron"), WORDS.items())
def test_what_people_write_has_one_form(text: str, cron: str) -> None:
    times, zone = parse_recurrence(text)
    assert times.cron == cron
    assert zone is None
    assert parse_crontab(cron) == times


@pytest.mark.parametrize(
    "text",
    [
        "", "tomorrow at 9", "every", "every day at", "завтра в 9", "каждые 2 дня", "every 2 days",
        "mon at 9 and tue at 10", "every day at 9-17", "every first monday at 9", "every day at 930",
        "every night", "каждый день в 9 и 17:30", "every 10 at 5", "every day at 25", "every day at 9:60",
        "every day at 13pm", "every day at 0am", "every 7 hours", "every 0 minutes", "every 99 hours",
        "every day at 9 and 17:30", "every moonday at 8", "60 9 * * *", "0 9 * *", "0 9 * * * *",
        "0 9 0 * *", "9-5 9 * * *", "*/0 * * * *", "0 9 1 * mon", "0 9 * * mon-xyz", "every day at ٩",
        "* * * * ²", "every day at 9 in Atlantis", "x" * 10_000, "every month on the 32nd at 9",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UnknownTimeError) as refused:
        parse_recurrence(text)
    assert refused.value.sentence.endswith(".")
    assert len(refused.value.sentence) < 200


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("every day at 9 in Berlin", "Europe/Berlin"),
        ("weekdays at 7 in america/new_york", "America/New_York"),
        ("0 9 * * * in New York", "America/New_York"),
        ("every hour in utc", "UTC"),
        ("every day at 9 GMT+3", "Etc/GMT-3"),
        ("every day at 9 in UTC-5", "Etc/GMT+5"),
        ("every day at 9 (UTC+5:30)", "Asia/Kolkata"),
        ("every day at 9 Berlin time", "Europe/Berlin"),
        ("mon-fri at 9 EST", "America/New_York"),
        ("каждый день в 9 МСК", "Europe/Moscow"),
        ("каждый день в 9 по Москве", "Europe/Moscow"),
        ("по будням в 9 по Нью-Йорку", "America/New_York"),
        ("каждый день в 9 по МСК+2", "Etc/GMT-5"),
        ("каждый день в 9 по московскому времени", "Europe/Moscow"),
    ],
)
def test_a_place_names_the_time_zone(text: str, zone: str) -> None:
    assert parse_recurrence(text)[1] == zone
    assert find_time_zone(zone) == zone


@pytest.mark.parametrize(
    ("name", "hours"), [("GMT+3", 3), ("utc -5", -5), ("UTC+5:30", 5.5), ("gmt", 0), ("МСК+2", 5)]
)
def test_an_offset_is_ahead_of_utc_where_its_sign_is_plus(name: str, hours: float) -> None:
    zone = ZoneInfo(find_time_zone(name))
    assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=hours)


def test_a_fixed_offset_is_shown_with_the_sign_that_people_mean() -> None:
    assert [zone_label(zone) for zone in ("Etc/GMT-3", "Etc/GMT+5", "Europe/Berlin")] == [
        "UTC+3", "UTC-5", "Europe/Berlin",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 * * *", "every day at 09:00"),
        ("30 8 * * 1", "every Monday at 08:30"),
        ("0 7 * * 1-5", "on weekdays at 07:00"),
        ("0 9 1 * *", "on day 1 of each month at 09:00"),
        ("0 9 1 3 *", "at `0 9 1 3 *`"),
        ("0 */6 * * *", "every day at 00:00, 06:00, 12:00, and 18:00"),
        ("0 */2 * * *", "every 2 hours"),
        ("*/30 * * * *", "every 30 minutes"),
    ],
)
def test_times_are_told_in_words_where_they_are_simple(text: str, words: str) -> None:
    assert parse_crontab(text).describe(languages().english) == words


def local(times: list[datetime]) -> list[str]:
    return [f"{time:%d %H:%M}" for time in times]


def test_nine_o_clock_stays_nine_o_clock_when_the_clock_is_changed() -> None:
    before = datetime(2026, 10, 24, 12, tzinfo=UTC)  # it is set back on the 25th
    found = next_runs("0 9 * * *", "Europe/Berlin", before, 2)
    assert local(found) == ["25 09:00", "26 09:00"]
    assert [time.astimezone(UTC).hour for time in found] == [8, 8]
    assert next_run("0 9 * * *", "Europe/Berlin", datetime(2026, 10, 23, 12, tzinfo=UTC)) == (
        datetime(2026, 10, 24, 7, tzinfo=UTC)
    )


def test_in_the_repeated_hour_a_daily_task_runs_once() -> None:
    before = datetime(2026, 10, 24, 12, tzinfo=UTC)
    found = next_runs("30 2 * * *", "Europe/Berlin", before, 2)
    assert local(found) == ["25 02:30", "26 02:30"]
    assert found[0].fold == 0


def test_in_the_repeated_hour_an_hourly_task_goes_on() -> None:
    before = datetime(2026, 10, 24, 23, 59, tzinfo=UTC)
    found = next_runs("30 * * * *", "Europe/Berlin", before, 3)
    assert local(found) == ["25 02:30", "25 02:30", "25 03:30"]
    gaps = {later.astimezone(UTC) - earlier.astimezone(UTC) for earlier, later in pairwise(found)}
    assert gaps == {timedelta(hours=1)}


def test_an_hour_that_is_skipped_loses_no_run() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)  # there is no 02:30 on the 29th
    found = next_runs("30 2 * * *", "Europe/Berlin", before, 2)
    assert local(found) == ["29 03:00", "30 02:30"]


def test_a_day_that_never_comes_has_no_times() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_run("0 9 30 2 *", "UTC", now) is None
    assert local(next_runs("0 9 29 2 *", "UTC", now, 1)) == ["29 09:00"]


def field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    pair = st.tuples(number, number).map(sorted)
    part = st.one_of(
        number.map(str),
        pair.map(lambda two: f"{two[0]}-{two[1]}"),
        st.builds(lambda two, n: f"{two[0]}-{two[1]}/{n}", pair, st.integers(1, 30)),
        st.integers(1, most).map(lambda n: f"*/{n}"),
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


CRONS = st.one_of(
    st.tuples(field(0, 59), field(0, 23), field(1, 28), st.just("*"), st.just("*")),
    st.tuples(field(0, 59), field(0, 23), st.just("*"), st.just("*"), field(0, 7)),
).map(" ".join)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])


@given(CRONS)
@settings(max_examples=60, deadline=None)
def test_the_form_that_is_kept_is_its_own(text: str) -> None:
    times, _ = parse_recurrence(text)
    assert parse_crontab(times.cron) == times
    assert parse_recurrence(times.cron)[0].cron == times.cron


@given(CRONS, MOMENTS)
@settings(max_examples=60, deadline=None)
def test_runs_lie_as_far_apart_as_is_said_and_at_the_times_that_are_said(
    text: str, after: datetime
) -> None:
    times = parse_recurrence(text)[0]
    found = next_runs(times.cron, "UTC", after, 8)
    assert len(found) == 8
    assert found[0] > after
    for earlier, later in pairwise(found):
        assert later - earlier >= times.gap
    for time in found:
        assert (time.minute in times.minutes, time.hour in times.hours) == (True, True)
        assert (time.day in times.days, time.weekday() in times.weekdays) == (True, True)
        assert (time.second, time.microsecond) == (0, 0)


@given(CRONS, ZONES, MOMENTS)
@settings(max_examples=60, deadline=None)
def test_the_next_time_is_always_later_and_one_that_the_clock_shows(
    text: str, zone: str, after: datetime
) -> None:
    cron = parse_recurrence(text)[0].cron
    found = next_run(cron, zone, after)
    assert found is not None
    assert found > after
    shown = found.astimezone(ZoneInfo(zone))
    assert shown.astimezone(UTC) == found
    earlier = next_run(cron, zone, found - timedelta(seconds=1))
    assert earlier == found
