"""The OpenAI double's `/responses`: the events of the Responses API, as the real service sends them.

The model's name selects the answer:

=================  =================================================================================
echo               "You said: " and the last user message, in two deltas
tool:NAME:JSON     calls the tool with these arguments; once the input holds its result, quotes it.
                   With `reasoning` in the request it thinks first, and each request must bring back
                   the encrypted thoughts that belong to a call
cites              a text with a citation, and a picture
incomplete         text, then `response.incomplete` at the limit of tokens
failed             `response.failed`, with a text that quotes the user
error              an `error` event
whole              no deltas: the text comes with `response.completed` alone
json               the response as JSON instead of events
=================  =================================================================================
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.doubles.openai_steps import Plain, Request, Step
from tests.doubles.openai_wire import EVENT_STREAM, encode, error_body

PATH = "/v1/responses"
ENCRYPTED = "gAAAA-encrypted-thoughts"
PNG = (  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
CHAT_FIELDS = ("messages", "max_tokens", "max_completion_tokens", "reasoning_effort", "seed")
CITED = {
    "type": "url_citation",
    "url": "https://example.com/a",
    "title": "A",
    "start_index": 0,
    "end_index": 5,
}

Event = dict[str, Any]


def plan(request: Request) -> Sequence[Step]:
    """Return the steps of the answer to a request for a response."""
    body = request.body
    if wrong := next((name for name in CHAT_FIELDS if name in body), None):
        message = f"Unsupported parameter: '{wrong}'."
        return [Plain(400, error_body(message, kind="invalid_request_error", code=None))]
    if _lacks_thoughts(body):
        message = "Item 'fc_1' of type 'function_call' was provided without its 'reasoning' item."
        return [Plain(400, error_body(message, kind="invalid_request_error", code=None))]
    if body.get("model") == "json":
        text = f"You said: {_last_user(body)}"
        return [Plain(200, encode(_end("completed", output=[_message(text)])["response"]))]
    events = list(_events(body))
    frames = [
        b"event: " + event["type"].encode() + b"\ndata: " + encode(event) + b"\n\n"
        for event in events
    ]
    return [Plain(200, b"".join(frames), content_type=EVENT_STREAM)]


def _events(body: Mapping[str, Any]) -> Iterator[Event]:
    model = str(body.get("model"))
    yield {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
    yield {"type": "response.in_progress", "response": {"id": "resp_1", "status": "in_progress"}}
    results = [i["output"] for i in body["input"] if i.get("type") == "function_call_output"]
    if model.startswith("tool:") and not results:
        yield from _call(model, thinks="reasoning" in body)
        return
    if model == "failed":
        failure = {"code": "server_error", "message": f"failed on {_last_user(body)}"}
        yield _end("failed", status="failed", error=failure)
        return
    if model == "error":
        yield {
            "type": "error",
            "code": "rate_limit_exceeded",
            "message": "slow down",
            "param": None,
        }
        return
    text = f"The result is {results[-1]}" if results else f"You said: {_last_user(body)}"
    if model == "whole":
        yield _end("completed", output=[_message(text)])
        return
    half = len(text) // 2
    for piece in (text[:half], text[half:]):
        yield {**_place(), "type": "response.output_text.delta", "delta": piece}
    yield {**_place(), "type": "response.output_text.done", "text": text}
    if model == "cites":
        yield {**_place(), "type": "response.output_text.annotation.added", "annotation": CITED}
        image = {"type": "image_generation_call", "id": "ig_1", "result": PNG}
        yield {"type": "response.output_item.done", "output_index": 1, "item": image}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _message(text)}
    if model == "incomplete":
        reason = {"reason": "max_output_tokens"}
        yield _end("incomplete", status="incomplete", incomplete_details=reason)
        return
    yield _end("completed", output=[_message(text)])


def _call(model: str, *, thinks: bool) -> Iterator[Event]:
    _, name, arguments = model.split(":", 2)
    output: list[Event] = []
    if thinks:
        thoughts = {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "I count."}],
            "encrypted_content": ENCRYPTED,
        }
        place = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
        yield {"type": "response.reasoning_summary_part.added", **place}
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": "I "}
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": "count."}
        yield {"type": "response.output_item.done", "output_index": 0, "item": thoughts}
        output.append(thoughts)
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name}
    index = len(output)
    begun = {**call, "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    for piece in (arguments[:4], arguments[4:]):
        delta = {"item_id": "fc_1", "output_index": index, "delta": piece}
        yield {"type": "response.function_call_arguments.delta", **delta}
    whole = {**call, "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": index, "item": whole}
    yield _end("completed", output=[*output, whole])


def _lacks_thoughts(body: Mapping[str, Any]) -> bool:
    kinds = [item.get("type") for item in body["input"]]
    has_thoughts = any(item.get("encrypted_content") == ENCRYPTED for item in body["input"])
    return "reasoning" in body and "function_call" in kinds and not has_thoughts


def _message(text: str) -> Event:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}


def _place() -> Event:
    return {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def _end(kind: str, **fields: Any) -> Event:
    usage = {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 5},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 18,
    }
    response = {"id": "resp_1", "object": "response", "status": "completed", "error": None}
    return {"type": f"response.{kind}", "response": {**response, "usage": usage, **fields}}


def _last_user(body: Mapping[str, Any]) -> str:
    texts = [item["content"] for item in body["input"] if item.get("role") == "user"]
    content = texts[-1] if texts else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content)
