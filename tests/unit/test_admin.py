"""The statistics page: for admins alone, one self-contained document, everything escaped."""

import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
import pytest_asyncio

from cmw_agent.runtime.runtime import Runtime
from cmw_agent.server.build import Parts
from cmw_agent.web.api.statistics_page import is_admin, statistics_page
from cmw_agent.web.api.svg_charts import HEIGHT, Bar, bars, share_bar
from memory.reports.statistics import (
    Answers,
    Day,
    Messages,
    Sessions,
    Share,
    Spread,
    Statistics,
    ToolStatistics,
)
from tests.harness import Served, served, settings_for
from tests.isolation.wire import Answer, ask

PATH = "/admin/statistics"
PATHS = (PATH, "/admin/ratings")
NONE = Spread(None, None, None)
FIRST = date(2030, 1, 1)
shared = pytest.mark.asyncio(loop_scope="module")

FIGURES = Statistics(
    made_at=datetime(2030, 1, 30, 12, tzinfo=UTC),
    sessions=Sessions(1234, 1000, 200, 34),
    messages=Messages(56789, Spread(46.0, 40.5, 99.25)),
    tokens=1_000_000,
    cost_micros=0,
    latency_ms=Spread(1500, 1200, 5250),
    answers=Answers(900, 10, 5, 1),
    days=tuple(
        Day(FIRST + timedelta(days=n), n, n * n, n * 100, 0, 0, Spread(n, n, 2 * n) if n else NONE)
        for n in range(30)
    ),
    sites=(Share("shop.example", 3, 40, 500), Share(None, 1, 2, 3)),
    channels=(Share("web", 4, 42, 503),),
    models=(),
    tools=(),
)
PAID = replace(
    FIGURES,
    cost_micros=7_654_321,
    days=tuple(replace(day, cost_micros=n * 50) for n, day in enumerate(FIGURES.days)),
    models=(Share("m1", 1, 2, 3, 1_500_000), Share("m2", 1, 2, 3, 99)),
    tools=(
        ToolStatistics("calculate", 1500, 3, Spread(20.0, 10.0, 1250.0)),
        ToolStatistics("clock", 1, 0, Spread(2.0, 2.0, 2.0)),
    ),
)


class Reader(HTMLParser):
    """Collects tags, attributes and text of a document and sees that its tags close."""

    VOID = ("meta", "rect", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_the_page_shows_the_figures() -> None:
    page = Reader(statistics_page(FIGURES))
    assert not page.open
    for figure in ("1,234", "56,789", "1,000,000", "1.20 s", "5.25 s", "15", "shop.example"):
        assert figure in page.text, figure
    assert "2030-01-01" in page.text
    assert page.tags.count("svg") == 3 + 2 + 1  # by day; sites and channels


def test_the_page_shows_what_was_paid_and_how_tools_were_used() -> None:
    page = Reader(statistics_page(PAID))
    assert not page.open
    for figure in ("$7.65", "$1.50", "<$0.0001", "at most $0.0015", "calculate", "1,500", "0.01 s"):
        assert figure in page.text, figure
    assert page.text.count("1.25 s") == 1
    # by day; sites, channels, models and tools
    assert page.tags.count("svg") == 4 + 2 + 1 + 2 + 2
    free = Reader(statistics_page(FIGURES))
    assert "Cost per day" in page.text
    assert "Cost per day" not in free.text


@pytest.mark.parametrize("figures", [FIGURES, PAID])
def test_the_page_needs_nothing_else_and_runs_nothing(figures: Statistics) -> None:
    page = Reader(statistics_page(figures))
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("href", "src", "style", "action")
        assert "://" not in value
    assert not re.search(r"url\(|@import", statistics_page(figures))


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</title></svg><b>",
        "' onload='x",
        "&lt;b&gt;",
    ],
)
def test_a_name_is_text_and_nothing_else(name: str) -> None:
    tool = ToolStatistics("calculate", 1, 0, NONE)
    plain = Reader(statistics_page(replace(FIGURES, tools=(tool,))))
    marked = replace(
        FIGURES,
        tools=(replace(tool, name=name),),
        sites=(Share(name, 1, 40, 1), Share(None, 1, 2, 3)),
        channels=(Share(name, 1, 42, 1),),
    )
    page = Reader(statistics_page(marked))
    assert page.tags == plain.tags
    assert {n for n, _ in page.attributes} == {n for n, _ in plain.attributes}
    assert page.text.count(name) == 3


def test_a_long_name_is_cut_and_one_with_line_breaks_is_one_line() -> None:
    page = Reader(statistics_page(replace(FIGURES, sites=(Share("x" * 500, 1, 1, 1),))))
    assert "x" * 59 + "…" in page.text
    page = Reader(statistics_page(replace(FIGURES, sites=(Share("a\r\n\u202eb", 1, 1, 1),))))
    assert "a   b" in page.text


def test_light_and_dark_and_narrow_screens_are_thought_of() -> None:
    page = statistics_page(FIGURES)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "min(100%, 20rem)" in page


def test_bars_stay_in_their_plot_and_small_ones_are_seen() -> None:
    drawn = bars("x", [Bar("", 1e9), Bar("", 1), Bar("", 5e8, 4.9e8), Bar("", 0), Bar("", None)])
    shapes = re.findall(r'y="([\d.]+)" width="8" height="([\d.]+)"', drawn)
    assert len(shapes) == 3
    for top, height in shapes:
        assert float(height) >= 1.5
        assert 0 <= float(top) <= HEIGHT - float(height) + 0.01
    assert drawn.count("<title>") == 5
    assert 'width="100.0"' in share_bar(7)


def test_who_has_no_name_is_no_admin(tmp_path: Path) -> None:
    nobody = settings_for(tmp_path)
    assert not is_admin(nobody, None)
    assert not any(is_admin(nobody, frozenset({name})) for name in ("", "root", "*"))
    some = settings_for(tmp_path, admins=" root , ann , email:Boss@A.example, sub:7, group:ops,")
    assert some.admins == {"root", "ann", "email:boss@a.example", "sub:7", "group:ops"}
    assert all(is_admin(some, frozenset({name, "x"})) for name in some.admins)
    assert not is_admin(some, None)
    for name in ("", "Root", "root ", "roo", "root,ann", "7", "ops", "boss@a.example"):
        assert not is_admin(some, frozenset({name}))


class Namer(Runtime):
    """Knows each visitor as an account that has signed in as root."""

    async def names_of(self, account: str) -> frozenset[str] | None:
        return frozenset({"root", "sub:1"})


class Stranger(Runtime):
    """Knows each visitor by a name that the settings do not hold."""

    async def names_of(self, account: str) -> frozenset[str] | None:
        return frozenset({"mallory", "sub:2"})


@asynccontextmanager
async def app(folder: Path, runtime: type[Runtime], admins: str = "root") -> AsyncIterator[Served]:
    async with served(settings_for(folder, admins=admins), Parts(runtime=runtime)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def named(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with app(tmp_path_factory.mktemp("named"), Namer) as running:
        yield running


async def cookie(url: str) -> dict[str, str]:
    answer = await ask(url, "GET", "/config")
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


@shared
async def test_an_admin_gets_the_page_and_nobody_keeps_it(named: Served) -> None:
    answer = await ask(named.url, "GET", PATH, await cookie(named.url))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert b"Statistics" in answer.body
    assert Reader(answer.body.decode()).open == []


async def both(url: str, method: str, headers: dict[str, str], path: str) -> tuple[Answer, Answer]:
    """Return the answers for a page and for a path that is not there."""
    body = b"{}" if method == "POST" else b""
    found = [await ask(url, method, each, headers, body) for each in (path, "/admin/nothing")]
    return found[0], found[1]


METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
ORIGINS: tuple[dict[str, str], ...] = (
    {},
    {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"},
    {"if-none-match": "*", "range": "bytes=0-1"},
)


@shared
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
async def test_who_proves_nothing_cannot_tell_it_from_an_unknown_path(
    method: str, path: str, named: Served
) -> None:
    for origin in ORIGINS:
        page, unknown = await both(named.url, method, origin, path)
        assert page == unknown
        assert page.status == 404
        assert page.body == (b"" if method == "HEAD" else b'{"detail":"Not Found"}')


@pytest.mark.parametrize("runtime", [Runtime, Stranger])
@pytest.mark.parametrize("admins", ["", "root"])
async def test_a_visitor_whom_the_settings_do_not_name_cannot_tell_it_either(
    runtime: type[Runtime], admins: str, tmp_path: Path
) -> None:
    async with app(tmp_path, runtime, admins) as running:
        known = await cookie(running.url)
        for method, path in itertools.product(METHODS, (*PATHS, f"{PATHS[1]}?rating=like")):
            page, unknown = await both(running.url, method, known, path)
            assert page == unknown
            assert page.status == 404


@shared
async def test_when_the_figures_cannot_be_had_an_admin_reads_a_sentence(named: Served) -> None:
    known = await cookie(named.url)
    runtime = named.application.runtime
    services, runtime._services = runtime._services, None
    try:
        answer = await ask(named.url, "GET", PATH, known)
    finally:
        runtime._services = services
    assert answer.status == 503
    assert "try again" in json.loads(answer.body)["detail"]
