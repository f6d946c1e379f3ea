"""The parser reads what servers send: at least what the openai SDK reads, however it is cut."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.errors import (
    ErrorDetails,
    NotAStreamError,
    StreamRefusedError,
    TooLargeError,
    UpstreamError,
)
from cmw_agent.llm.merging import Merger
from cmw_agent.llm.sse import MAX_EVENT, MAX_REPLY, SSEParser


def chunk(delta: str, finish: str = "null", more: str = "") -> str:
    choice = f'{{"index":0,"delta":{delta},"finish_reason":{finish}}}'
    return f'{{"id":"c","choices":[{choice}]{more}}}'


def text(value: str) -> str:
    return chunk(f'{{"content":"{value}"}}')


def thought(value: str) -> str:
    return chunk(f'{{"role":"assistant","content":null,"reasoning_content":"{value}"}}')


def with_field(payload: str, name: str, value: str) -> str:
    return f'{payload[:-1]},"{name}":{value}}}'


ROLE = chunk('{"role":"assistant","content":"","refusal":null}')
CALL = chunk('{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}')
STOP = chunk("{}", '"stop"')
USAGE = '{"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
WORDS = [text(word) for word in ("One ", "two ", "né 語 ", "🙂 ", '\\"q\\" ', "\\n", "end")]
ANSWER = [ROLE, thought("Hm "), thought("so. "), *WORDS, CALL, STOP, USAGE]


def events(payloads: Iterable[str], before: str = "data: ", after: str = "\n\n") -> bytes:
    return "".join(f"{before}{payload}{after}" for payload in [*payloads, "[DONE]"]).encode()


def spread(payload: str) -> str:
    """Return an event of several data lines, which end between the tokens of the JSON."""
    return payload.replace(',"', '\ndata: ,"').replace('{"', '{\ndata:"')


LEGAL: Mapping[str, bytes] = {
    "LF": events(ANSWER),
    "CRLF": events(ANSWER, after="\r\n\r\n"),
    "CR": events(ANSWER, after="\r\r"),
    "mixed line ends": events(ANSWER, after="\r\n\n\r\n") + b"\r\r\n",
    "BOM": b"\xef\xbb\xbf" + events(ANSWER),
    "no space after the colon": events(ANSWER, "data:"),
    "several data lines": events(map(spread, ANSWER)),
    "several data lines, CRLF": events(map(spread, ANSWER)).replace(b"\n", b"\r\n"),
    "comments": events(ANSWER, ": OPENROUTER PROCESSING\n\n:\ndata: "),
    "names and ids": events(ANSWER, "event: message\nid: 7\nretry: 10\ndata: "),
    "the name after the data": events(ANSWER, after="\nevent: completion\n\n"),
    "unknown fields": events(ANSWER, "x-trace: 1\nwhat\n data\ndata: ", "\nmeta\n\n"),
    "padding": events(
        with_field(p, "obfuscation", f'"{"x" * n}"') for n, p in enumerate(ANSWER)
    ),
    "times that go on": events(
        with_field(p, "created", str(n // 3)) for n, p in enumerate(ANSWER)
    ),
    "[DONE] without a newline": events(ANSWER)[:-2],
    "no [DONE]": events(ANSWER).removesuffix(b"data: [DONE]\n\n"),
    "NaN and Infinity": events([chunk('{"content":"x"}', more=',"logprobs":[NaN,-Infinity]')] * 3),
    "NUL": events([text("a\\u0000b"), STOP]),
    "control characters": events([text("a\\u0001b\\t"), STOP]),
    "a pair in two deltas": events([text("a\\ud83d"), text("\\ude00b"), text("c"), STOP]),
    "a pair in two thoughts": events([thought("a\\ud83d"), thought("\\ude00b"), STOP]),
    "half a pair": events([text("a\\ud83d"), text("b\\ude00"), text("c\\ud83d"), STOP]),
    "half a pair at the end": events([text("a"), text("b\\ud83d")]),
    "a pair around a call": events([text("a\\ud83d"), CALL, text("\\ude00b"), STOP]),
    "usage in each": events(
        with_field(p, "usage", f'{{"prompt_tokens":{n}}}') for n, p in enumerate(WORDS, 1)
    ),
    "[DONE] twice": events(ANSWER) + events(ANSWER),
}  # fmt: skip


def read(pieces: Iterable[bytes]) -> tuple[list[Chunk], SSEParser]:
    """Return the merged chunks of a body in pieces, and its parser."""
    parser, merger = SSEParser(), Merger()
    merged = [found for piece in pieces for found in merger.merge(parser.feed(piece))]
    return [*merged, *merger.merge(parser.finish()), *merger.end()], parser


def read_by_sdk(body: bytes) -> list[Chunk]:
    found = []
    for event in SSEDecoder().iter_bytes(iter([body])):
        if event.data.startswith("[DONE]"):
            break
        found.append(json.loads(event.data))
    return found


def clean(joined: str) -> str:
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def content(chunks: Sequence[Chunk]) -> list[object]:
    """Return what chunks say: their texts joined, all else in order, the last usage."""
    texts = dict.fromkeys(("content", "reasoning_content", "reasoning"), "")
    others: list[object] = []
    usage: object = None
    for found in chunks:
        usage = found.get("usage") or usage
        for choice in found["choices"]:
            for key, value in choice["delta"].items():
                if key in texts and isinstance(value, str):
                    texts[key] += value
                elif value and key != "role":
                    others.append((key, value))
            if choice.get("finish_reason"):
                others.append(choice["finish_reason"])
    return [{key: clean(value) for key, value in texts.items()}, others, usage]


@pytest.mark.parametrize("name", LEGAL)
def test_what_the_sdk_reads_is_read_the_same_however_it_is_cut(name: str) -> None:
    body = LEGAL[name]
    expected = content(read_by_sdk(body))
    for cut in range(len(body) + 1):
        assert content(read([body[:cut], body[cut:]])[0]) == expected, cut
    assert content(read(body[n : n + 1] for n in range(len(body)))[0]) == expected
    assert content(read(body[n : n + 3] for n in range(0, len(body), 3))[0]) == expected


@given(st.sampled_from(sorted(LEGAL)), st.lists(st.integers(0, 9999), max_size=20))
def test_what_the_sdk_reads_is_read_the_same_in_any_pieces(name: str, cuts: list[int]) -> None:
    body = LEGAL[name]
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    found, parser = read(body[a:b] for a, b in itertools.pairwise(places))
    assert content(found) == content(read_by_sdk(body))
    assert parser.fault is None


@pytest.mark.parametrize("name", LEGAL)
def test_no_surrogate_is_given_on(name: str) -> None:
    for body in (LEGAL[name], *(LEGAL[name][:cut] for cut in range(0, len(LEGAL[name]), 7))):
        for found in read([body])[0]:
            json.dumps(found, ensure_ascii=False).encode()


MESSAGE = (
    '{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
    '"content":"né 🙂","reasoning_content":"Hm","annotations":[{"type":"url_citation"}],'
    '"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},'
    '"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3}}'
)
WHOLE = [
    {"content": "né 🙂", "reasoning_content": "Hm", "reasoning": ""},
    [
        ("annotations", [{"type": "url_citation"}]),
        ("tool_calls", [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]),
        "tool_calls",
    ],
    {"prompt_tokens": 3},
]
EXPECTED = content([json.loads(payload) for payload in ANSWER])
# Not legal, or read by the SDK as something else; what is read instead.
BEYOND: Mapping[str, tuple[bytes, list[Any]]] = {
    "no empty lines": (events(ANSWER, after="\n"), EXPECTED),
    "no final newline": (events(ANSWER).removesuffix(b"\n\ndata: [DONE]\n\n"), EXPECTED),
    "the end not closed": (events(ANSWER).removesuffix(b"\ndata: [DONE]\n\n"), EXPECTED),
    "comments in data": (events(ANSWER, "data: : PROCESSING\n\ndata: "), EXPECTED),
    "words in data": (events(ANSWER, "data: ping\n\ndata:\n\ndata: null\n\ndata: "), EXPECTED),
    "pings": (events(ANSWER, 'event: ping\ndata: {"type": "ping"}\n\ndata: '), EXPECTED),
    "data in data": (events(ANSWER, "data: data: "), EXPECTED),
    "indented": (events(ANSWER, "    data: "), EXPECTED),
    "done in quotes": (events(ANSWER).replace(b"[DONE]", b'"[DONE]"'), EXPECTED),
    "done in lower case": (events(ANSWER).replace(b"[DONE]", b"[done]"), EXPECTED),
    "several in one list": (f"data: [{','.join(ANSWER)}]\n\n".encode(), EXPECTED),
    "a chunk per line": ("\n".join(ANSWER).encode(), EXPECTED),
    "a list of chunks": (("[" + ",\n".join(ANSWER) + "]").encode(), EXPECTED),
    "a whole answer": (MESSAGE.encode(), WHOLE),
    "a whole answer after empty lines": (b"\n \n\n" + MESSAGE.encode() + b"\n", WHOLE),
    "a whole answer, pretty": (json.dumps(json.loads(MESSAGE), indent=2).encode(), WHOLE),
    "a whole answer as an event": (f"data: {MESSAGE}\n\ndata: [DONE]\n\n".encode(), WHOLE),
    "messages in place of deltas": (
        events(p.replace('"delta"', '"message"') for p in ANSWER), EXPECTED,
    ),
    "the whole message after its deltas": (
        events([text("all"), MESSAGE.replace('"content":"né 🙂"', '"content":"all"')]),
        [{"content": "all", "reasoning_content": "", "reasoning": ""}, ["tool_calls"],
         {"prompt_tokens": 3}],
    ),
    "text of a completion": (
        events(['{"choices":[{"text":"a"}]}', '{"choices":[{"text":"b","delta":null}]}']),
        [{"content": "ab", "reasoning_content": "", "reasoning": ""}, [], None],
    ),
    "bytes of one character in two events": (
        events([text("a"), text("x"), text("b"), STOP]).replace(b'"x"', b'"\xf0\x9f"', 1)
        .replace(b'"b"', b'"\x99\x82!"', 1),
        [{"content": "a🙂!", "reasoning_content": "", "reasoning": ""}, ["stop"], None],
    ),
    "bytes that are no character": (
        events([text("a"), text("x"), text("b")]).replace(b'"x"', b'"\xff\xf0\x9f"', 1),
        [{"content": "a\ufffd\ufffdb", "reasoning_content": "", "reasoning": ""}, [], None],
    ),
    "thoughts under two names": (
        events([chunk('{"reasoning":"a","reasoning_content":"a"}')] * 2),
        [{"content": "", "reasoning_content": "aa", "reasoning": ""}, [], None],
    ),
    "an empty error": (events([with_field(text("a"), "error", "null"), STOP]),
                       [{"content": "a", "reasoning_content": "", "reasoning": ""}, ["stop"], None]),
}  # fmt: skip


@pytest.mark.parametrize("name", BEYOND)
def test_what_can_only_mean_one_thing_is_read_however_it_is_cut(name: str) -> None:
    body, expected = BEYOND[name]
    for cut in range(len(body) + 1):
        found, parser = read([body[:cut], body[cut:]])
        assert content(found) == expected, cut
        assert parser.fault is None
    assert content(read(body[n : n + 1] for n in range(len(body)))[0]) == expected


def details(**said: Any) -> ErrorDetails:
    return ErrorDetails(**said, text=said.get("message", ""))


OVERLOADED = details(status=503, code="503", message="overloaded")
ERRORS: Mapping[str, tuple[str, ErrorDetails]] = {
    "an object": (
        'data: {"error":{"message":"no","type":"t","param":"p","code":"c"}}',
        details(code="c", type="t", param="p", message="no"),
    ),
    "a text": ('data: {"error":"overloaded"}', details(message="overloaded")),
    "a text with a status": (
        'data: {"error":"overloaded","status":503}',
        details(status=503, code="503", type="503", message="overloaded"),
    ),
    "with a choice": (
        'data: {"choices":[{"delta":{}}],"error":{"code":503,"message":"overloaded"}}',
        OVERLOADED,
    ),
    "in a choice": (
        'data: {"choices":[{"error":{"code":503,"message":"overloaded"}}]}', OVERLOADED,
    ),
    "of old vLLM": (
        'data: {"object":"error","message":"overloaded","code":503}', OVERLOADED,
    ),
    "message and code": ('data: {"message":"overloaded","code":503}', OVERLOADED),
    "FastAPI's": ('data: {"detail":"overloaded"}', details(message="overloaded")),
    "a list": ('data: [{"error":{"code":503,"message":"overloaded"}}]', OVERLOADED),
    "Cloudflare's": (
        'data: {"success":false,"errors":[{"code":503,"message":"overloaded"}]}', OVERLOADED,
    ),
    "named": ('event: error\ndata: {"code":503,"message":"overloaded"}', OVERLOADED),
    "named, a text": ("event: error\ndata: overloaded", details(message="overloaded")),
    "named, a JSON text": ('event:error\ndata:"overloaded"', details(message="overloaded")),
    "named afterwards": (
        'data: {"code":503,"message":"overloaded"}\nevent: error', OVERLOADED,
    ),
    "in several lines": (
        'event: error\ndata: {"code":503,\ndata: "message":"overloaded"}', OVERLOADED,
    ),
    "a field of its own": ('error: {"code":503,"message":"overloaded"}', OVERLOADED),
    "not an event": ('{"error":{"code":503,"message":"overloaded"}}', OVERLOADED),
    "not an event, pretty": ('{\n "error": {\n  "code": 503,\n  "message": "overloaded"\n }\n}',
                             OVERLOADED),
    "of Anthropic": (
        'event: error\ndata: {"type":"error","error":{"type":"t","message":"overloaded"}}',
        details(type="t", message="overloaded"),
    ),
    "plain words": ("data: error: overloaded", details(message="error: overloaded")),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("before", [(), (text("well"),)])
def test_an_error_in_any_shape_is_an_error_with_what_it_says(
    name: str, before: Sequence[str]
) -> None:
    error, said = ERRORS[name]
    first = events(before).removesuffix(b"data: [DONE]\n\n")
    for after in (b"", b"\n\n", b"\n\ndata: [DONE]\n\n"):
        body = first + error.encode() + after
        for cut in range(len(body) + 1):
            found, parser = read([body[:cut], body[cut:]])
            assert content(found)[0]["content"] == ("well" if before else "")  # type: ignore[index]
            assert isinstance(parser.fault, StreamRefusedError), cut
            assert parser.fault.details == said


OTHERS: Mapping[str, tuple[bytes, type[UpstreamError] | None]] = {
    "nothing": (b"", None),
    "a page": (b"<!DOCTYPE html>\n<html><body>\n{\n</body></html>\n", NotAStreamError),
    "words": (b"Service Unavailable\n", None),
    "events of something else": (b'data: {"type":"ping"}\n\ndata: {"ok":true}\n\n', None),
    "Ollama's own protocol": (b'{"message":{"role":"assistant","content":"a"}}\n' * 3, None),
    "cut JSON": (b'data: {"choices":[', None),
    "half a message": (MESSAGE.encode()[:80], None),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_answer_is_taken_for_none(name: str) -> None:
    body, fault = OTHERS[name]
    for cut in range(len(body) + 1):
        found, parser = read([body[:cut], body[cut:]])
        assert not found
        assert parser.empty
        assert (type(parser.fault) if parser.fault else None) is fault


def test_chunks_that_carry_nothing_are_not_given_on() -> None:
    nothing = [
        ROLE,
        text(""),
        chunk("{}"),
        chunk('{"content":null,"tool_calls":[],"annotations":null}'),
        '{"id":"c","choices":[],"usage":{}}',
        '{"id":"c","choices":null,"usage":null}',
    ]
    assert read([events(nothing)])[0] == []


def test_thoughts_are_merged_as_text_is() -> None:
    found, _ = read([events([ROLE, *map(thought, "abc"), *map(text, "def"), *map(thought, "gh")])])
    deltas = [item["choices"][0]["delta"] for item in found]
    assert [{k: v for k, v in delta.items() if k != "role"} for delta in deltas] == [
        {"reasoning_content": "abc"},
        {"content": "def"},
        {"reasoning_content": "gh"},
    ]


def detail(value: str) -> str:
    entry = f'{{"type":"reasoning.text","text":"{value}","index":0}}'
    return chunk(f'{{"content":"","reasoning":"{value}","reasoning_details":[{entry}]}}')


def test_thoughts_with_details_come_together_with_all_their_details() -> None:
    found, _ = read([events([ROLE, *map(detail, "abc"), text("x"), detail("d")])])
    assert len(found) == 3
    delta = found[0]["choices"][0]["delta"]
    assert delta["reasoning"] == "abc"
    assert [entry["text"] for entry in delta["reasoning_details"]] == ["a", "b", "c"]
    assert found[2]["choices"][0]["delta"]["reasoning"] == "d"


def test_a_character_that_is_split_within_a_calls_arguments_is_joined() -> None:
    def call(index: int, arguments: str) -> str:
        function = f'{{"function":{{"arguments":"{arguments}"}}}}'
        return chunk(f'{{"tool_calls":[{{"index":{index},{function[1:]}]}}')

    pieces = [
        call(0, '{\\"a'),
        call(0, "\\ud83d"),
        call(1, "b\\ud83d"),
        call(0, "\\ude00c"),
        call(1, "d"),
    ]
    found, _ = read([events(pieces)])
    texts = {0: "", 1: ""}
    for item in found:
        (each,) = item["choices"][0]["delta"]["tool_calls"]
        texts[each["index"]] += each["function"]["arguments"]
    assert texts == {0: '{"a😀c', 1: "b\ufffdd"}


def test_half_a_character_elsewhere_is_replaced() -> None:
    part = chunk('{"content":[{"type":"text","text":"a\\ud83d"}],"\\udc00":"\\udc00"}')
    ((found,), _) = read([events([part])])
    delta = found["choices"][0]["delta"]
    assert delta == {"content": [{"type": "text", "text": "a\ufffd"}], "\ufffd": "\ufffd"}


def test_what_is_more_than_text_passes_unmerged_and_in_order() -> None:
    more = [
        chunk('{"content":[{"type":"thinking","thinking":[{"type":"text","text":"x"}]}]}'),
        chunk('{"refusal":"I cannot"}'),
        CALL,
        chunk('{"content":"x","annotations":[{"type":"url_citation"}]}'),
        chunk('{"images":[{"type":"image_url"}]}'),
        chunk('{"content":"end"}', '"length"'),
        USAGE,
    ]
    between = [item for each in more for item in (text("a"), text("b"), each)]
    found, _ = read([events(between)])
    assert [item for item in found if item in map(json.loads, more)] == [*map(json.loads, more)]
    assert len(found) == 2 * len(more)


def test_what_stands_beside_the_choices_is_kept_where_texts_are_merged() -> None:
    cited = text("b")[:-1] + ',"citations":["https://a.example"],"usage":{"prompt_tokens":1}}'
    ((found,), _) = read([events([text("a"), cited, text("c")])])
    assert found["choices"][0]["delta"]["content"] == "abc"
    assert found["citations"] == ["https://a.example"]
    assert found["usage"] == {"prompt_tokens": 1}


def test_a_reply_over_the_bound_is_refused_however_small_its_events() -> None:
    parser = SSEParser()
    line = b": a comment of a hundred bytes".ljust(99) + b"\n"
    line *= 10_000
    fed = 0
    while parser.fault is None:
        parser.feed(line)
        fed += len(line)
        assert fed <= MAX_REPLY + len(line)
    assert isinstance(parser.fault, TooLargeError)


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1_000 + b"\n", b"x" * 1_000 + b"\n"])
def test_an_event_in_lines_without_end_is_refused(line: bytes) -> None:
    parser = SSEParser()
    parser.feed(b"data: {\n" if line.startswith(b"data") else b"{\n")
    part = line * 1_000
    for _ in range(MAX_EVENT // len(part) + 2):
        parser.feed(part)
    assert isinstance(parser.fault, TooLargeError)


def test_an_event_up_to_the_bound_is_read() -> None:
    payload = text("x" * (MAX_EVENT - 1_000)).encode()
    ((found,), parser) = read([b"data: " + payload + b"\n\n"])
    assert len(found["choices"][0]["delta"]["content"]) == MAX_EVENT - 1_000
    assert parser.fault is None
