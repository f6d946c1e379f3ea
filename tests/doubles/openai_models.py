"""The built-in models of the OpenAI double: the model's name selects the script of the answer."""

import json
import re
from collections.abc import Callable, Mapping, Sequence

from tests.doubles.openai_steps import (
    Cut,
    Fail,
    Gate,
    Hang,
    Plain,
    Raw,
    Request,
    Script,
    Start,
    Step,
    Stop,
    Text,
    Thoughts,
    ToolCalls,
    Wait,
)
from tests.doubles.openai_wire import encode, error_body, event

CANARY = re.compile(r"canary-\w+")
_NAME_GIVEN = re.compile(r"my name is ([\w'-]+)", re.IGNORECASE)
_NAME_ASKED = re.compile(r"what(?:'s| is) my name", re.IGNORECASE)
_WORDS = ("one ", "word ", "follows ", "another ", "in ", "a ", "rather ", "quiet ", "line ")
_PLAIN_FIELDS = frozenset(
    {"model", "messages", "stream", "temperature", "top_p", "n", "stop", "max_tokens"}
    | {"presence_penalty", "frequency_penalty", "user", "tools", "tool_choice"}
)


def words(text: str) -> list[str]:
    """Return the words of `text`, each with the white space that follows; joined they give `text`."""
    return re.findall(r"\S+\s*|\s+", text)


def echo_answer(message: str) -> str:
    """Return the answer of the model `echo` to `message`."""
    return f"You said: {message}"


def tokens_answer(count: int, message: str = "") -> list[str]:
    """Return the tokens of the model `tokens-COUNT`; the message's canary, if any, is the first."""
    canary = CANARY.search(message)
    first = [f"{canary.group()} "] if canary else []
    whole, rest = divmod(count - len(first), len(_WORDS))
    return [*first, *_WORDS * whole, *_WORDS[:rest]][:count]


def _echo(request: Request) -> list[str]:
    return words(echo_answer(request.last_user))


def _memory(request: Request, _: str) -> Sequence[Step]:
    """Answer with the name that a user's message of this request gives, the newest first."""
    if _NAME_ASKED.search(request.last_user):
        for text in reversed(request.user_texts):
            if given := _NAME_GIVEN.search(text):
                return [Text(words(f"Your name is {given.group(1)}."))]
        return [Text(words("I don't know your name yet."))]
    if given := _NAME_GIVEN.search(request.last_user):
        return [Text(words(f"Hello, {given.group(1)}!"))]
    return [Text(_echo(request))]


def _with_message(value: object, message: str) -> object:
    """Return `value` with `$message` in each of its strings replaced by `message`."""
    match value:
        case str():
            return value.replace("$message", message)
        case list():
            return [_with_message(item, message) for item in value]
        case dict():
            return {key: _with_message(item, message) for key, item in value.items()}
    return value


def call_tools(request: Request, calls: Sequence[tuple[str, object]]) -> Sequence[Step]:
    """Return the steps that call tools, (name, arguments) each, or quote their results once present."""
    if results := request.tool_results:
        return [Text(words(f"The tools said: {' | '.join(results)}"))]
    message = request.last_user
    filled = [(name, encode(_with_message(args, message)).decode()) for name, args in calls]
    return [ToolCalls(filled)]


def _tools(request: Request, model: str) -> Sequence[Step]:
    kind, _, rest = model.partition(":")
    if kind == "tools":
        return call_tools(request, [(c["name"], c.get("arguments", {})) for c in json.loads(rest)])
    name, _, arguments = rest.partition(":")
    return call_tools(request, [(name, json.loads(arguments or "{}"))])


_ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def refusal(request: Request, status: int, *, retry_after: bool = True) -> Plain:
    """Return an error response of the endpoint.

    Its message quotes the user's text and, for 401, the key, as careless endpoints do, so that
    tests see whether the app shows or logs either.
    """
    kind, code = _ERRORS.get(status, ("server_error", None))
    message = f"Refused with {status}, model {request.model}: {request.last_user}"
    if status == 401:
        message = f"Incorrect API key provided: {request.authorization}. {message}"
    headers = {"retry-after": "0"} if status == 429 and retry_after else {}
    return Plain(status, error_body(message, kind=kind, code=code), headers)


def _refuse(request: Request, model: str) -> Sequence[Step]:
    _, status, *bare = model.split("-")
    return [refusal(request, int(status), retry_after=not bare)]


def _strict(request: Request, _: str) -> Sequence[Step]:
    unknown = request.body.keys() - _PLAIN_FIELDS
    return [refusal(request, 400)] if unknown else [Text(_echo(request))]


def _number(model: str, default: int) -> int:
    """Return the number at the end of the model's name."""
    digits = re.search(r"-(\d+)$", model)
    return int(digits.group(1)) if digits else default


def _count_off(request: Request, model: str) -> Sequence[Step]:
    name, _, rate = model.partition("@")
    tokens = tokens_answer(int(name.removeprefix("tokens-")), request.last_user)
    return [Text(tokens, float(rate) if rate else None)]


def _think(request: Request, model: str) -> Sequence[Step]:
    """Think all tokens but one, and answer with the message's canary."""
    tokens = tokens_answer(_number(model, 2), request.last_user)
    return [Thoughts(tokens[1:]), Text(tokens[:1])]


def _gated(request: Request, model: str) -> Sequence[Step]:
    tokens, count = _echo(request), _number(model, 1)
    return [Start(), Text(tokens[:count]), Gate(), Text(tokens[count:])]


def _cut(request: Request, model: str) -> Sequence[Step]:
    return [Start(), Text(tokens_answer(_number(model, 3), request.last_user)), Cut()]


def _truncated(request: Request, model: str) -> Sequence[Step]:
    return [Text(tokens_answer(_number(model, 3), request.last_user)), Stop(done=False)]


def _broken(request: Request, _: str) -> Sequence[Step]:
    broken = b'{"id":"chatcmpl-broken","choices":[{"index":0,"delta":{"cont'
    return [Text(_echo(request)[:1]), Raw(event(broken), broken), Text(_echo(request)[1:])]


def _error_in_stream(request: Request, _: str) -> Sequence[Step]:
    comment = Raw(b": OPENROUTER PROCESSING\n\n")
    return [comment, Text(_echo(request)), Fail(f"Provider failed on: {request.last_user}")]


_HTML = b"<!doctype html><title>Sign in</title><h1>Sign in to the network</h1>"

# The whole model name must match. `-N` at the end is a number of tokens, for slow-first of ms.
_MODELS: Mapping[str, Callable[[Request, str], Sequence[Step]]] = {
    "echo": lambda r, _: [Text(_echo(r))],
    "memory": _memory,
    r"tokens-\d+(@\d+(\.\d+)?)?": _count_off,
    r"thoughts-\d+": _think,
    r"tools?:.+": _tools,
    "strict": _strict,
    r"gated(-\d+)?": _gated,
    r"slow-first(-\d+)?": lambda r, model: [
        Start(),
        Wait(_number(model, 300) / 1000),
        Text(_echo(r)),
    ],
    r"fail-[45]\d\d(-bare)?": _refuse,
    r"cut(-\d+)?": _cut,
    r"truncated(-\d+)?": _truncated,
    "hang": lambda r, _: [Text(_echo(r)[:1]), Hang()],
    "hang-before": lambda r, _: [Hang()],
    "not-sse": lambda r, _: [Plain(200, _HTML, content_type="text/html; charset=utf-8")],
    "bad-json": _broken,
    "error-in-stream": _error_in_stream,
    "empty": lambda r, _: [Start(), Stop()],
}

LISTED_MODELS = ("echo", "memory", "tokens-200", "gated", "strict")


def built_in(model: str) -> Script | None:
    """Return the script of a built-in model; None if there is no such model."""
    for pattern, answer in _MODELS.items():
        if re.fullmatch(pattern, model, re.DOTALL):
            return lambda request: answer(request, model)
    return None
