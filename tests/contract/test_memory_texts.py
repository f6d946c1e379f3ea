"""Texts are read back unchanged, or refused with a named error before they are stored."""

import dataclasses

import pytest

from memory.engine.database import Database
from memory.errors import InvalidTextError
from memory.records import ConversationOrigin, NewTurn
from tests.contract.conftest import ALICE, TOOL, Store, rows_of


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "a\udfffb", "\0"])
async def test_what_a_database_cannot_keep_is_refused_by_name(
    store: Store, database: Database, text: str
) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    before = await rows_of(database)
    bad_tool = dataclasses.replace(TOOL, arguments={"x": [text]})
    for call in (
        store.begin(ALICE, "s2", text),
        store.begin(ALICE, "s2", "fine", key=f"k{text}"),
        store.begin_turn(
            ALICE, NewTurn("s2", "fine", key="k", origin=ConversationOrigin(website_domain=text))
        ),
        store.begin_retry(ALICE, "s1", key="k", text=text),
        store.finish(ALICE, ticket.turn_id, text),
        store.finish(ALICE, ticket.turn_id, "fine", error_id=text),
        store.checkpoint(ALICE, ticket.turn_id, content=text, tool_calls=[]),
        store.checkpoint(ALICE, ticket.turn_id, content="fine", tool_calls=[bad_tool]),
    ):
        with pytest.raises(InvalidTextError) as caught:
            await call
        assert text not in str(caught.value)
    assert await rows_of(database) == before


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
async def test_tool_calls_that_are_not_json_are_refused(store: Store, value: object) -> None:
    ticket = await store.begin(ALICE, "s1", "Hello")
    tool = dataclasses.replace(TOOL, arguments={"x": value})
    with pytest.raises(InvalidTextError):
        await store.checkpoint(ALICE, ticket.turn_id, content="", tool_calls=[tool])


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "'; DROP TABLE agent_messages; --",
        "%s ? :x \\u0000",
        "👩‍👩‍👧 Łódź 東京 \u202e",
        "\x01\r\n\t",
    ],
)
async def test_every_other_text_comes_back_as_it_was(store: Store, text: str) -> None:
    ticket = await store.begin(ALICE, "s1", text)
    tool = dataclasses.replace(TOOL, result=text, arguments={text: text})
    await store.checkpoint(ALICE, ticket.turn_id, content=text, tool_calls=[tool])
    question, answer = await store.messages(ALICE, "s1")
    assert question.content == answer.content == text
    assert answer.tool_calls == (tool,)
