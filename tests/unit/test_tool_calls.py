"""Tool calls of one message: pieces of every shape become the calls that the model made."""

import json
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.llm.text_calls import parse_calls, whole_call
from cmw_agent.llm.tool_calls import (
    MAX_ARGUMENTS,
    MAX_CALLS,
    MAX_EXTRA,
    NO_CALL,
    NO_NAME,
    NOT_AN_OBJECT,
    ToolCalls,
    json_object,
)
from cmw_agent.tools.argument_checks import ArgumentChecker

KNOWN = ("calculate", "clock", "calculate_all")
ARGUMENTS = '{"expression": "12+3"}'
VALUE = {"expression": "12+3"}


def made(*deltas: Any, known: Sequence[str] = KNOWN) -> ToolCalls:
    calls = ToolCalls(known)
    for delta in deltas:
        calls.add(delta)
    calls.parse()
    return calls


def valid(*deltas: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return names and arguments of the calls, none of which may be invalid."""
    calls, invalid = made(*deltas).parse()
    assert not invalid
    ids = [call["id"] for call in calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return [(call["name"], call["args"]) for call in calls]


def piece(name: str | None = None, arguments: Any = None, **fields: Any) -> list[dict[str, Any]]:
    function = {"name": name, "arguments": arguments}
    return [{**fields, "function": {k: v for k, v in function.items() if v is not None}}]


ONE = [("calculate", VALUE)]
TWO = [("calculate", VALUE), ("clock", {})]
SHAPES: dict[str, tuple[list[Any], list[tuple[str, dict[str, Any]]]]] = {
    "by index": (
        [
            piece("calculate", "", index=0, id="a"),
            piece("clock", "", index=1, id="b"),
            piece(None, ARGUMENTS[:9], index=0),
            piece(None, "{}", index=1),
            piece(None, ARGUMENTS[9:], index=0),
        ],
        TWO,
    ),
    "the name in each delta": (
        [piece("calculate", part, index=0, id="a") for part in ("", '{"expression":', '"12+3"}')],
        ONE,
    ),
    "the name in pieces": (
        [
            piece("calc", index=0, id="a"),
            piece("ulate", "", index=0),
            piece(None, ARGUMENTS, index=0),
        ],
        ONE,
    ),
    "no id": ([piece("calculate", ARGUMENTS, index=0)], ONE),
    "an id that is null": ([piece("calculate", ARGUMENTS, index=0, id=None)], ONE),
    "an id that is a number": ([piece("calculate", ARGUMENTS, index=0, id=7)], ONE),
    "arguments as an object": ([piece("calculate", VALUE, index=0, id="a")], ONE),
    "arguments encoded twice": ([piece("calculate", json.dumps(ARGUMENTS), index=0)], ONE),
    "no arguments at all": ([piece("clock", index=0, id="a")], [("clock", {})]),
    "blank arguments": ([piece("clock", " \n", index=0, id="a")], [("clock", {})]),
    "arguments that are null": ([piece("clock", "null", index=0, id="a")], [("clock", {})]),
    "no index": (
        [
            piece("calculate", "", id="a"),
            piece(None, ARGUMENTS[:9]),
            piece(None, ARGUMENTS[9:]),
            piece("clock", "{}", id="b"),
        ],
        TWO,
    ),
    "an index that is null": (
        [piece("calculate", "", index=None, id="a"), piece(None, ARGUMENTS, index=None)],
        ONE,
    ),
    "neither index nor id": (
        [piece("calculate", ARGUMENTS[:9]), piece(None, ARGUMENTS[9:]), piece("clock", "{}")],
        TWO,
    ),
    "neither, and no arguments": ([piece("clock", ""), piece("calculate", ARGUMENTS)], TWO[::-1]),
    "an id that is empty after the first piece": (
        [
            piece("calculate", "", index=0, id="a"),
            piece(None, ARGUMENTS[:9], index=0, id=""),
            piece(None, ARGUMENTS[9:], index=0, id=""),
        ],
        ONE,
    ),
    "an index that two calls share": (
        [piece("calculate", ARGUMENTS, index=0, id="a"), piece("clock", "{}", index=0, id="b")],
        TWO,
    ),
    "an index that two calls of one tool share": (
        [piece("calculate", ARGUMENTS, index=0, id=name) for name in "ab"],
        ONE * 2,
    ),
    "an index that two calls without ids share": (
        [piece("calculate", VALUE, index=0), piece("clock", {}, index=0)],
        TWO,
    ),
    "an id of its own for each piece": (
        [
            piece("calculate", "", index=0, id="a"),
            piece(None, ARGUMENTS[:9], index=0, id="b"),
            piece(None, ARGUMENTS[9:], index=0, id="c"),
        ],
        ONE,
    ),
    "two calls with one id": (
        [piece("calculate", ARGUMENTS, index=0, id="a"), piece("clock", "{}", index=1, id="a")],
        TWO,
    ),
    "a backslash at the end of a piece": (
        [
            *(piece("calculate", '{"expression": "a\\'), piece(None, '"{"}'), piece("clock", "{}")),
        ],
        [("calculate", {"expression": 'a"{'}), ("clock", {})],
    ),
    "an index as text": (
        [piece("calculate", ARGUMENTS[:9], index="0"), piece(None, ARGUMENTS[9:], index="0")],
        ONE,
    ),
    "all calls at once": (
        [[*piece("calculate", ARGUMENTS, id="a"), *piece("clock", "", id="b")]],
        TWO,
    ),
    "a call without a list": (piece("calculate", ARGUMENTS, id="a"), ONE),
    "flat": ([[{"id": "a", "name": "calculate", "arguments": ARGUMENTS}]], ONE),
    "parameters": ([[{"id": "a", "function": {"name": "calculate", "parameters": VALUE}}]], ONE),
    "a namespace before the name": ([piece("functions.calculate", ARGUMENTS, index=0)], ONE),
    "empty entries": (
        [[None, {}, {"function": None}, *piece("clock", "", index=0)]],
        [("clock", {})],
    ),
    "raw line ends in a text": (
        [piece("calculate", '{"expression": "1\n2"}', index=0)],
        [("calculate", {"expression": "1\n2"})],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_pieces_of_a_call_are_joined_whatever_their_shape(shape: str) -> None:
    deltas, wanted = SHAPES[shape]
    assert valid(*deltas) == wanted


@given(st.data())
def test_arguments_cut_anywhere_are_the_arguments_that_were_sent(data: Any) -> None:
    text = json.dumps({"expression": data.draw(st.text(alphabet='ab"\\{}[]é', max_size=12))})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    by_position = [piece("calculate", ""), *(piece(None, part) for part in parts)]
    by_index = [piece("calculate", part, index=0, id="a") for part in parts]
    for deltas in (by_position, by_index):
        assert valid(*deltas, piece("clock", "{}", id="b")) == [
            ("calculate", json.loads(text)),
            ("clock", {}),
        ]


@pytest.mark.parametrize(
    ("delta", "error"),
    [
        (piece("calculate", '{"expression": "12+3', index=0), NOT_AN_OBJECT),
        (piece("calculate", '{"expression": "1"}{"expression": "2"}', index=0), NOT_AN_OBJECT),
        (piece("calculate", ["12+3"], index=0), NOT_AN_OBJECT),
        (piece("calculate", '["12+3"]', index=0), NOT_AN_OBJECT),
        (piece("calculate", '{"expression": NaN}', index=0), NOT_AN_OBJECT),
        (piece("calculate", 7, index=0), NOT_AN_OBJECT),
        (piece("calculate", "twelve", index=0), NOT_AN_OBJECT),
        (piece(None, ARGUMENTS, index=0), NO_NAME),
        (piece(7, ARGUMENTS, index=0), NO_NAME),  # type: ignore[arg-type]
        (["calculate"], NO_CALL),
        ([["calculate"]], NO_CALL),
    ],
)
def test_what_is_not_one_whole_object_is_no_call_and_says_why(delta: Any, error: str) -> None:
    calls = made(delta)
    valid_calls, (invalid,) = calls.parse()
    assert not valid_calls
    assert invalid["error"] == error
    (wire,) = calls.wire()
    assert wire["function"]["arguments"] == "{}"  # servers refuse what is no JSON
    assert wire["id"] == invalid["id"]


def test_what_the_server_sent_beside_a_call_is_sent_back() -> None:
    calls = made(
        piece(
            "calculate", "", index=0, id="a", extra_content={"google": {"thought_signature": "s"}}
        ),
        [{"index": 0, "function": {"arguments": ARGUMENTS, "mark": "m"}, "thought_signature": "t"}],
    )
    (wire,) = calls.wire()
    assert wire == {
        "id": "a",
        "type": "function",
        "function": {"name": "calculate", "arguments": ARGUMENTS, "mark": "m"},
        "extra_content": {"google": {"thought_signature": "s"}},
        "thought_signature": "t",
    }


def test_half_a_surrogate_in_arguments_is_replaced() -> None:
    assert valid(piece("calculate", '{"expression": "\\ud83d"}', index=0)) == [
        ("calculate", {"expression": "\ufffd"})
    ]


def test_calls_and_their_arguments_are_bounded() -> None:
    with pytest.raises(ModelFailedError) as failed:
        made(*(piece("clock", "{}", index=index) for index in range(MAX_CALLS + 1)))
    assert failed.value.kind == "too_large"
    part = "x" * (MAX_ARGUMENTS // 4 + 1)
    with pytest.raises(ModelFailedError):
        made(*(piece("clock", part, index=0) for _ in range(4)))


def test_arguments_that_come_as_objects_are_bounded_like_texts() -> None:
    part = "x" * (MAX_ARGUMENTS // 4 + 1)
    with pytest.raises(ModelFailedError) as failed:
        made(*(piece(None, {f"a{number}": part}, index=0) for number in range(4)))
    assert failed.value.kind == "too_large"


def test_the_fields_of_a_call_that_are_carried_back_are_bounded() -> None:
    fields = ({"index": 0, "extra_content": {f"a{number}": 1}} for number in range(MAX_EXTRA + 9))
    calls = made(piece("clock", "{}", index=0), *([item] for item in fields))
    (call,) = calls.wire()
    assert len(call["extra_content"]) == MAX_EXTRA


def test_arguments_that_nest_too_deeply_are_no_object() -> None:
    assert json_object('{"a":' * 100_000) is None
    assert json_object("7" * 5_000) is None
    deep: dict[str, Any] = {}
    for _ in range(1_000):
        deep = {"a": deep}
    calls = made(piece("clock", deep, index=0, id="a"))
    (call,) = calls.parse()[1]
    assert call["error"] == NOT_AN_OBJECT
    assert calls.wire()[0]["function"]["arguments"] == "{}"


def test_the_repetition_of_a_whole_call_is_known_however_it_was_cut() -> None:
    cut = [piece(None, sign, index=0) for sign in ARGUMENTS]
    again = piece("calculate", ARGUMENTS, id="a")
    assert valid(piece("calculate", "", index=0, id="a"), *cut, again) == ONE
    other = piece("calculate", ARGUMENTS.replace("3", "4"), id="a")
    assert len(valid(piece("calculate", "", index=0, id="a"), *cut, other)) == 2


# -- calls that are written as text ----------------------------------------------------------

SCHEMAS = {
    "calculate": {"properties": {"expression": {"type": "string"}, "digits": {"type": "integer"}}}
}
WRITTEN = [
    '<tool_call>\n{"name": "calculate", "arguments": {"expression": "12+3"}}\n</tool_call>',
    '<tool_call>{"name": "calculate", "parameters": {"expression": "12+3"}}</tool_call>',
    "<tool_call>\n<function=calculate>\n<parameter=expression>\n12+3\n</parameter>\n</function>\n</tool_call>",
    "<function=calculate><parameter=expression>12+3</parameter></function>",
    '<function=calculate>{"expression": "12+3"}</function>',
    '<function_calls><invoke name="calculate"><parameter name="expression">12+3</parameter></invoke>',
    "<tool_call>calculate\n<arg_key>expression</arg_key>\n<arg_value>12+3</arg_value>\n</tool_call>",
    '[TOOL_CALLS][{"name": "calculate", "arguments": {"expression": "12+3"}}]',
    '[TOOL_CALLS]calculate[ARGS]{"expression": "12+3"}',
    '<|python_tag|>{"name": "calculate", "parameters": {"expression": "12+3"}}',
    '<|channel|>commentary to=functions.calculate <|constrain|>json<|message|>{"expression": "12+3"}<|call|>',
    '<|tool_calls_section_begin|><|tool_call_begin|>functions.calculate:0<|tool_call_argument_begin|>{"expression": "12+3"}<|tool_call_end|><|tool_calls_section_end|>',
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>calculate<｜tool▁sep｜>{"expression": "12+3"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>calculate\n```json\n{"expression": "12+3"}\n```<｜tool▁call▁end｜>',
]


@pytest.mark.parametrize("markup", WRITTEN)
def test_a_call_that_is_written_as_text_is_read(markup: str) -> None:
    calls = ToolCalls(KNOWN)
    for name, arguments in parse_calls(markup, SCHEMAS):
        calls.add_call(name, arguments)
    (call,), invalid = calls.parse()
    assert not invalid
    assert (call["name"], call["args"]) == ("calculate", VALUE)


def test_a_value_without_quotes_has_the_type_that_its_schema_asks_for() -> None:
    markup = (
        "<function=calculate><parameter=expression>12</parameter><parameter=digits>2</parameter>"
    )
    assert parse_calls(markup, SCHEMAS) == [("calculate", {"expression": "12", "digits": 2})]


@pytest.mark.parametrize("markup", [text[: len(text) * 2 // 3] for text in WRITTEN])
def test_a_written_call_that_was_cut_is_not_made(markup: str) -> None:
    calls = ToolCalls(KNOWN)
    for name, arguments in parse_calls(markup, SCHEMAS):
        calls.add_call(name, arguments)
    made_calls, invalid = calls.parse()
    assert not made_calls
    assert invalid


def test_a_message_is_a_call_only_where_it_names_a_known_tool() -> None:
    text = '{"name": "%s", "parameters": {"expression": "12+3"}}'
    assert whole_call(text % "calculate", SCHEMAS) == ("calculate", VALUE)
    assert whole_call(f"```json\n{text % 'calculate'}\n```", SCHEMAS) == ("calculate", VALUE)
    assert whole_call(text % "Ada", SCHEMAS) is None
    assert whole_call('{"name": "calculate"}', SCHEMAS) is None


# -- schemas ---------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "format": "email", "pattern": "^(a+)+$", "x-unknown": 1},
        "count": {"type": "integer", "minimum": 1},
        "note": {"type": "string", "nullable": True},
    },
    "required": ["to"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"to": "a"}, ""),
        ({"to": "a" * 40 + "!", "note": None}, ""),
        ({}, "'to' is a required property"),
        ({"to": 1}, "to: 1 is not of type 'string'"),
        ({"to": "a", "count": 0}, "count: 0 is less than the minimum of 1"),
        ({"to": "a", "cc": "b"}, "'cc' was unexpected"),
    ],
)
async def test_arguments_that_do_not_fit_their_schema_are_named(
    arguments: dict[str, Any], fault: str
) -> None:
    faults = await ArgumentChecker().faults(SCHEMA, arguments)
    assert fault in faults
    assert bool(fault) == bool(faults)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "nonsense"},
        {"properties": 7},
        {"required": True},
        {"$ref": "#"},
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"},
    ],
)
async def test_a_broken_schema_holds_no_call_back(schema: Any) -> None:
    assert await ArgumentChecker().faults(schema, {"a": 1}) == ""


async def test_an_error_is_short_however_long_the_arguments_are() -> None:
    faults = await ArgumentChecker().faults(SCHEMA, {"to": ["x" * 10_000]})
    assert 0 < len(faults) < 400


async def test_nothing_is_fetched_from_an_address_in_a_schema() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        assert await ArgumentChecker().faults({"$ref": address}, {"a": 1}) == ""
        with pytest.raises(BlockingIOError):
            server.accept()
