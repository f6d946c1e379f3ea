"""Exports that are not read: limited per owner and per address, and their slots are released."""

from pathlib import Path

from cmw_agent.conversations.export import formats
from cmw_agent.identity.principals import Principal
from cmw_agent.language import languages
from memory.records import NewTurn
from tests.harness import Browser, Served, served, settings_for
from tests.rows import rows
from tests.service import wait_until

PARAGRAPH = "lorem ipsum dolor " * 16_000
EXCHANGES = 40  # in all more than a connection's buffers hold


async def long_conversation(app: Served, folder: Path) -> str:
    """Make the visitor's conversation, of whom there is one alone, a long one; return its id."""
    (row,) = rows(folder, "SELECT owner_id, session_id FROM agent_sessions")
    owner, conversation = Principal(row["owner_id"], "visitor"), row["session_id"]
    memory = app.application.runtime.memory
    for number in range(EXCHANGES):
        ticket = await memory.begin_turn(
            owner.id, NewTurn(conversation, PARAGRAPH, key=f"{number}")
        )
        await memory.finish_turn(
            owner.id,
            ticket.turn_id,
            status="complete",
            content=PARAGRAPH,
            tool_calls=[],
            tokens_used=None,
            latency_ms=None,
            model_used=None,
            error_id=None,
        )
    return str(conversation)


async def test_a_third_unread_export_of_one_owner_is_refused_until_one_is_given_back(
    tmp_path: Path,
) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as alice:
        tab = await alice.open()
        await tab.send("hello")
        conversation = await long_conversation(app, tmp_path)
        budgets = app.application.runtime.budgets

        def address(ending: str) -> str:
            return f"{app.url}/history/export?id={conversation}&format={ending}"

        async with alice.http.get(address("md")) as one:
            async with alice.http.get(f"{app.url}/history/everything") as other:
                assert (one.status, other.status) == (200, 200)
                assert budgets.used("exports") == 2
                async with alice.http.get(address("json")) as third:
                    assert third.status == 429
                    assert "retry-after" in third.headers
                other.close()
            await wait_until(lambda: budgets.used("exports") == 1)
            assert (await one.text()).count(PARAGRAPH.strip()) == 2 * EXCHANGES
        await wait_until(lambda: budgets.used("exports") == 0)
        for ending in formats(languages().english):
            async with alice.http.get(address(ending)) as whole:
                assert (await whole.text()).count(PARAGRAPH) == 2 * EXCHANGES
        await wait_until(lambda: budgets.used("exports") == 0)
