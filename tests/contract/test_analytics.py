"""Usage statistics: correct on each database, and without personal data."""

import json
import random
import statistics as reference
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cmw_agent.observability.statistics_text import report
from cmw_agent.web.api.statistics_page import statistics_page
from memory.conversations.imports import ImportedHead, ImportPart, MessageToImport
from memory.conversations.share_store import ShareStore
from memory.engine.database import Database
from memory.engine.scopes import EVERYONE
from memory.records import ConversationOrigin, MessageStatus, NewTurn, ToolRecord
from memory.reports.percentiles import by_key
from memory.reports.statistics import Share, Spread, Statistics, ToolStatistics
from memory.reports.tool_usage import MAX_TOOLS
from memory.reports.usage_statistics import DAYS, MAX_SHARES, statistics
from memory.share_records import NewShare, SharedCopy
from tests.contract.conftest import ALICE, BOB, LEASE, Clock, Store

DAY = 86_400.0


async def exchange(
    store: Store,
    conversation_id: str,
    *,
    owner: str = ALICE,
    latency: int | None = 100,
    tokens: int | None = 10,
    status: MessageStatus = "complete",
    model: str | None = "m1",
    site: str | None = None,
    channel: str = "web",
    text: str = "one",
    tools: Sequence[ToolRecord] = (),
    cost: int | None = None,
) -> None:
    ticket = await store.begin_turn(
        owner,
        NewTurn(
            conversation_id,
            text,
            key=f"{conversation_id}-{random.random()}",
            origin=ConversationOrigin(channel=channel, website_domain=site),
        ),
    )
    assert await store.finish_turn(
        owner,
        ticket.turn_id,
        status=status,
        content=text,
        tool_calls=tools,
        tokens_used=tokens,
        latency_ms=latency,
        model_used=model,
        error_id=None,
        cost_micros=cost,
    )


async def test_without_any_row_all_figures_are_nought(database: Database, clock: Clock) -> None:
    found = await statistics(database, clock=clock)
    assert (found.sessions.total, found.messages.total, found.tokens) == (0, 0, 0)
    assert found.latency_ms == found.messages.per_session == Spread(None, None, None)
    assert len(found.days) == DAYS
    assert found.sites == found.channels == found.models == ()
    assert (found.cost_micros, found.tools) == (0, ())
    assert report(found)
    assert "<svg" in statistics_page(found)


async def test_sessions_messages_and_tokens_are_added_up(
    store: Store, database: Database, clock: Clock
) -> None:
    for number in range(4):
        for _ in range(number + 1):
            await exchange(store, f"s{number}", tokens=number, owner=(ALICE, BOB)[number % 2])
    await exchange(store, "s0", tokens=None)
    assert await store.mark_inactive(ALICE, "s0")
    found = await statistics(database, clock=clock)
    assert found.sessions.total == 4
    assert (found.sessions.active, found.sessions.inactive, found.sessions.ended) == (3, 1, 0)
    assert found.messages.total == 2 * (1 + 2 + 3 + 4 + 1)
    each = found.messages.per_session
    assert (each.mean, each.p50, each.p95) == pytest.approx((5.5, 5.0, 7.7))
    assert found.tokens == 2 * 1 + 3 * 2 + 4 * 3


async def test_what_was_replaced_costs_and_does_not_count_as_a_message(
    store: Store, database: Database, clock: Clock
) -> None:
    await exchange(store, "s1", tokens=10, status="failed", latency=None)
    again = await store.begin_retry(ALICE, "s1", key="again")
    assert await store.finish(ALICE, again.turn_id, "two")
    found = await statistics(database, clock=clock)
    assert (found.messages.total, found.days[-1].messages) == (2, 2)
    assert (found.tokens, found.days[-1].tokens) == (17, 17)
    assert (found.answers.complete, found.answers.failed) == (1, 1)


async def test_what_was_deleted_counts_nowhere(
    store: Store, database: Database, clock: Clock
) -> None:
    before = await statistics(database, clock=clock)
    await exchange(store, "s1", site="shop.example")
    await store.begin(ALICE, "s1", "running")
    await store.delete(ALICE, "s1")
    assert await statistics(database, clock=clock) == before
    await store.restore(ALICE, "s1")
    assert await statistics(database, clock=clock) != before


async def test_answers_are_told_apart_by_their_end(
    store: Store, database: Database, clock: Clock
) -> None:
    for number, status in enumerate(("complete", "failed", "interrupted", "interrupted")):
        await exchange(store, f"s{number}", status=status, latency=100 * (number + 1))  # type: ignore[arg-type]
    await store.begin(ALICE, "runs", "one")
    found = await statistics(database, clock=clock)
    answers = found.answers
    assert (answers.complete, answers.failed, answers.interrupted, answers.running) == (1, 1, 2, 1)
    assert (found.days[-1].failed, found.days[-1].interrupted) == (1, 2)
    # How soon something was stopped or failed says nothing of how long an answer takes.
    assert found.latency_ms == Spread(100, 100, 100)


async def test_percentiles_are_those_of_a_sorted_list(
    store: Store, database: Database, clock: Clock
) -> None:
    values = [random.Random(7).randrange(50, 9000) for _ in range(37)]
    for number, value in enumerate(values):
        await exchange(store, f"s{number}", latency=value)
    found = (await statistics(database, clock=clock)).latency_ms
    cuts = reference.quantiles(values, n=20, method="inclusive")
    assert found.mean == pytest.approx(reference.mean(values))
    assert found.p50 == pytest.approx(reference.median(values))
    assert found.p95 == pytest.approx(cuts[-1])


@pytest.mark.parametrize("number", [1, 2, 3, 20, 21, 41, 100])
async def test_percentiles_of_groups_do_not_mix(number: int, database: Database) -> None:
    rows = [(key, key * 1000 + place % 7) for key in (1, 2) for place in range(number)]
    random.Random(number).shuffle(rows)

    def work(connection: sa.Connection) -> dict[int, tuple[float, float]]:
        each = [sa.select(sa.literal(key), sa.literal(value)) for key, value in rows]
        return by_key(connection, sa.union_all(*each).subquery().select())

    found = await database.read(work, owner=EVERYONE)
    for key in (1, 2):
        each = [value for group, value in rows if group == key]
        cuts = reference.quantiles(each * (1 if len(each) > 1 else 2), n=20, method="inclusive")
        assert found[key] == pytest.approx((reference.median(each), cuts[-1]))


async def test_a_day_is_a_day_in_utc_and_none_is_left_out(
    store: Store, database: Database, clock: Clock
) -> None:
    clock.now = datetime(2030, 3, 1, tzinfo=UTC)
    await exchange(store, "first", latency=100)
    clock.advance(-1)
    await exchange(store, "eve", latency=300, tokens=5)
    await exchange(store, "eve", latency=500, tokens=5)
    clock.now = datetime(2030, 3, 1, 12, tzinfo=UTC) - timedelta(days=DAYS)
    await exchange(store, "too-old")
    clock.now = datetime(2030, 3, 1, 12, tzinfo=UTC)
    found = await statistics(database, clock=clock)
    days = [day.day for day in found.days]
    assert days == [clock.now.date() - timedelta(days=back) for back in reversed(range(DAYS))]
    eve, last = found.days[-2:]
    assert (eve.sessions, eve.messages, eve.tokens) == (1, 4, 10)
    assert (last.sessions, last.messages, last.tokens) == (1, 2, 10)
    latency = eve.latency_ms
    assert (latency.mean, latency.p50, latency.p95) == pytest.approx((400, 400, 490))
    assert last.latency_ms == Spread(100, 100, 100)
    assert sum(day.messages for day in found.days) == found.messages.total - 2


async def test_sites_channels_and_models_have_their_shares(
    store: Store, database: Database, clock: Clock
) -> None:
    await exchange(store, "s1", site="shop.example", model="m1", tokens=1)
    await exchange(store, "s1", site="shop.example", model="m2", tokens=2)
    await exchange(store, "s2", site=None, model="m2", channel="telegram", tokens=4)
    await exchange(store, "s3", site="shop.example", model=None, tokens=8)
    found = await statistics(database, clock=clock)
    assert found.sites == (Share("shop.example", 2, 6, 11), Share(None, 1, 2, 4))
    assert found.channels == (Share("web", 2, 6, 11), Share("telegram", 1, 2, 4))
    assert set(found.models) == {Share("m1", 1, 1, 1), Share("m2", 2, 2, 6), Share(None, 1, 1, 8)}
    assert found.models[0].name == "m2"


async def test_of_many_sites_only_the_largest_are_named(
    store: Store, database: Database, clock: Clock
) -> None:
    for number in range(MAX_SHARES + 3):
        await exchange(store, f"s{number}", site=f"site{number}.example")
    await exchange(store, "large", site="large.example")
    await exchange(store, "large", site="large.example")
    found = (await statistics(database, clock=clock)).sites
    assert len(found) == MAX_SHARES
    assert found[0] == Share("large.example", 1, 4, 20)


async def filled(store: Store, database: Database, clock: Clock, canary: str) -> Statistics:
    for number in range(3):
        owner, conversation_id = f"user:{canary}-owner{number}", f"{canary}-session{number}"
        await exchange(store, conversation_id, owner=owner, text=f"{canary} text {number}")
        await store.rename(owner, conversation_id, f"{canary} title")
        await store.begin_turn(
            owner,
            NewTurn(
                conversation_id,
                canary,
                key=f"{canary}-key",
                origin=ConversationOrigin(ip_address=canary),
            ),
        )
        clock.advance(LEASE)
    return await statistics(database, clock=clock)


async def test_no_text_title_or_id_of_anybody_is_in_the_figures(
    store: Store, database: Database, clock: Clock
) -> None:
    canary = "CaNaRy"
    found = await filled(store, database, clock, canary)
    assert found.messages.total == 12
    for written in (
        json.dumps(found.to_dict()),
        statistics_page(found),
        report(found),
        repr(found),
    ):
        assert canary.lower() not in written.lower()


async def test_the_figures_are_plain_json_and_come_back_as_they_were(
    store: Store, database: Database, clock: Clock
) -> None:
    await exchange(store, "s1", site="shop.example")
    found = await statistics(database, clock=clock)
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["sessions"] == {"total": 1, "active": 1, "inactive": 0, "ended": 0}
    assert again["made_at"] == clock.now.isoformat()
    assert again["days"][-1]["day"] == clock.now.date().isoformat()
    site = {"name": "shop.example", "sessions": 1, "messages": 2, "tokens": 10, "cost_micros": 0}
    assert again["sites"] == [site]


async def test_what_was_paid_is_added_up_by_day_and_by_model(
    store: Store, database: Database, clock: Clock
) -> None:
    large = 2**40
    await exchange(store, "s1", model="m1", cost=large)
    await exchange(store, "s1", model="m2", cost=3)
    clock.advance(2 * DAY)
    await exchange(store, "s2", model="m2", cost=5, site="shop.example")
    await exchange(store, "s2", model="m3", cost=None)
    again = await store.begin_retry(ALICE, "s2", key="again")
    assert await store.finish(ALICE, again.turn_id, "two")
    found = await statistics(database, clock=clock)
    assert found.cost_micros == large + 8
    assert [day.cost_micros for day in found.days[-4:]] == [0, large + 3, 0, 5]
    costs = {share.name: share.cost_micros for share in found.models}
    assert costs == {"m1": large, "m2": 8, "m3": 0, "model-1": 0}
    assert {share.name: share.cost_micros for share in found.sites} == {
        None: large + 3,
        "shop.example": 5,
    }


async def test_what_is_copied_or_imported_was_sent_and_answered_by_nobody_here(
    store: Store, database: Database, clock: Clock
) -> None:
    await exchange(store, "s1", tools=[used("clock")], cost=3)
    before = await statistics(database, clock=clock)
    await store.fork(ALICE, "s1", 2, context={}, copies={})
    links = ShareStore(database, clock=clock)
    await links.create_share(ALICE, NewShare("s1", "share", "reader", None))
    await links.copy_snapshot(BOB, "reader", SharedCopy("s2", "assistant", {}))
    answer = MessageToImport(
        "assistant", "yes", clock(), model_used="m1", tool_calls=[used("clock")]
    )
    head = ImportedHead("s3", "title", clock(), clock(), "active", ConversationOrigin())
    question = MessageToImport("user", "really?", clock())
    await store.import_part(ALICE, ImportPart(head, 0, [question, answer], is_last=True))
    after = await statistics(database, clock=clock)
    assert after.sessions.total == 4
    assert after.days[-1].messages == before.days[-1].messages == 2
    assert (after.models, after.tools) == (before.models, before.tools)


def used(name: str, milliseconds: int = 10, *, ok: bool = True) -> ToolRecord:
    return ToolRecord("call", name, {"secret": "CaNaRy"}, "CaNaRy", ok, milliseconds)


async def test_tools_are_counted_one_by_one(store: Store, database: Database, clock: Clock) -> None:
    values = [random.Random(7).randrange(0, 9000) for _ in range(23)]
    for place, value in enumerate(values):
        calls = [used("search.web-2", value, ok=place % 4 > 0)]
        await exchange(store, f"s{place}", tools=calls if place % 2 else [*calls, used("clock")])
    await exchange(store, "plain")
    await store.begin(ALICE, "runs", "one")
    search, clock_tool = (await statistics(database, clock=clock)).tools
    assert (search.name, search.calls, search.errors) == ("search.web-2", 23, 6)
    cuts = reference.quantiles(values, n=20, method="inclusive")
    latency = search.latency_ms
    assert (latency.mean, latency.p50, latency.p95) == pytest.approx(
        (reference.mean(values), reference.median(values), cuts[-1])
    )
    assert clock_tool == ToolStatistics("clock", 12, 0, Spread(10, 10, 10))


async def test_tools_of_replaced_answers_ran_and_those_of_deleted_ones_are_gone(
    store: Store, database: Database, clock: Clock
) -> None:
    await exchange(store, "s1", tools=[used("one")], status="failed")
    await store.begin_retry(ALICE, "s1", key="again")
    await exchange(store, "s2", tools=[used("two")])
    await store.delete(ALICE, "s2")
    assert [tool.name for tool in (await statistics(database, clock=clock)).tools] == ["one"]


async def test_what_is_no_name_of_a_tool_is_told_under_one_heading(
    store: Store, database: Database, clock: Clock
) -> None:
    odd = [
        "",
        " ",
        "a b",
        "<script>alert(1)</script>",
        "naïve",
        "x\n",
        "é",
        "日本",
        "a/b",
        "[",
        "'",
        '"',
    ]
    await exchange(store, "s1", tools=[used(name, 5) for name in odd])
    long = [used("x" * 64), used("x" * 65), used("x" * 5000)]
    await exchange(store, "s2", tools=[*long, used("A-Z_a.z0-9"), used("Other"), used("other")])
    found = await statistics(database, clock=clock)
    assert [(tool.name, tool.calls) for tool in found.tools] == [
        ("other", len(odd) + 1),
        ("x" * 64, 3),
        *sorted([("A-Z_a.z0-9", 1), ("Other", 1)]),
    ]
    for written in (statistics_page(found), report(found), json.dumps(found.to_dict())):
        assert "alert" not in written
        assert "CaNaRy" not in written
        assert "x" * 65 not in written


async def test_of_many_tools_only_the_most_used_are_named(
    store: Store, database: Database, clock: Clock
) -> None:
    invented = [used(f"tool{number:04}", number) for number in range(MAX_TOOLS + 20)]
    await exchange(store, "s1", tools=invented)
    await exchange(store, "s2", tools=[used(f"tool{MAX_TOOLS + 19:04}", 1000)])
    found = (await statistics(database, clock=clock)).tools
    assert len(found) == MAX_TOOLS
    most = found[0]
    assert (most.name, most.calls) == (f"tool{MAX_TOOLS + 19:04}", 2)
    assert most.latency_ms.p50 == (1000 + MAX_TOOLS + 19) / 2
    assert [tool.name for tool in found[1:]] == [f"tool{n:04}" for n in range(MAX_TOOLS - 1)]
