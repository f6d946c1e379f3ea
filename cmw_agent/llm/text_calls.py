"""Reads tool calls that a model writes as text, in the forms of the common templates.

What cannot be read makes a call that is invalid, so that the model is told.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

ParsedCall = tuple[str, Any]  # name and arguments: JSON text or an object
Schemas = Mapping[str, Mapping[str, Any]]  # parameters of each tool, as JSON schema

ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
# Kimi's and DeepSeek's signs around each call of a section.
CALL_BEGIN = re.compile(r"<\|tool_call_begin\|>|<｜tool▁call▁begin｜>")
CALL_END = re.compile(r"<\|tool_call_end\|>|<｜tool▁call▁end｜>")
SEPARATOR = re.compile(r"<\|tool_call_argument_begin\|>|<｜tool▁sep｜>")
RECIPIENT = re.compile(r"to=(?:functions\.)?([\w-]{1,200})")
NAME = re.compile(r"[A-Za-z_][\w.-]{0,199}")
FUNCTION = re.compile(r"<function=|<invoke name=")
PARAMETER = re.compile(r"<parameter=|<parameter name=")
MISTRAL = "[TOOL_CALLS]"
JSON_START = re.compile(r"\{|\[(?!TOOL_CALLS\])")


def parse_calls(markup: str, schemas: Schemas) -> list[ParsedCall]:
    """Return the calls that `markup` holds, with the tags around it; at least one.

    Args:
        markup: A call as the model wrote it.
        schemas: Parameters of the tools that the model was offered, by their names: values that
            are written without quotes get the type that they ask for.
    """
    if FUNCTION.search(markup):
        calls = list(_xml_calls(markup, schemas))
    elif "<arg_key>" in markup:
        calls = [_glm_call(markup, schemas)]
    elif CALL_BEGIN.search(markup):
        calls = [_section_call(part) for part in CALL_BEGIN.split(markup)[1:]]
    elif (recipient := RECIPIENT.search(markup[:500])) is not None:
        calls = [(recipient[1], _between_braces(markup))]
    else:
        calls = list(_json_calls(markup)) or list(_named_calls(markup))
    return calls or [("", markup)]


def whole_call(text: str, names: Mapping[str, Any]) -> ParsedCall | None:
    """Return the call that a whole message is, as Llama writes them; None for other messages."""
    body = text.strip()
    if body.startswith("```"):
        body = body.removeprefix("```").removeprefix("json").removesuffix("```").strip()
    try:
        value = json.loads(body, strict=False)
    except (ValueError, RecursionError):
        return None
    call = _call_of(value)
    return call if call is not None and call[0] in names else None


def _json_calls(markup: str) -> Iterator[ParsedCall]:
    """Yield the calls that are written as JSON objects, or as lists of them."""
    decoder, position = json.JSONDecoder(strict=False), 0
    while (start := JSON_START.search(markup, position)) is not None:
        try:
            value, position = decoder.raw_decode(markup, start.start())
        except (ValueError, RecursionError):
            return
        for item in value if isinstance(value, list) else [value]:
            call = _call_of(item)
            if call is not None:
                yield call


def _call_of(value: Any) -> ParsedCall | None:
    if not isinstance(value, dict):
        return None
    function = value.get("function")
    if isinstance(function, dict):
        value = function
    name = value.get("name") or (function if isinstance(function, str) else None)
    key = next((key for key in ARGUMENT_KEYS if key in value), None)
    if not isinstance(name, str) or key is None:
        return None
    return name, value[key]


def _named_calls(markup: str) -> Iterator[ParsedCall]:
    """Yield Mistral's newer form: `[TOOL_CALLS]name[ARGS]{…}`."""
    for part in markup.split(MISTRAL)[1:]:
        name = NAME.match(part.lstrip())
        if name is not None:
            yield name[0], _between_braces(part)


def _section_call(part: str) -> ParsedCall:
    body = CALL_END.split(part, maxsplit=1)[0]
    pieces = SEPARATOR.split(body, maxsplit=1)
    head, rest = pieces[0].strip(), pieces[-1]
    if head == "function":  # DeepSeek names the kind of call first
        head = rest.strip().split("\n", maxsplit=1)[0]
    name = head.removeprefix("functions.").split(":", maxsplit=1)[0].strip()
    return name, _between_braces(rest)


def _between_braces(text: str) -> str:
    """Return the text from the first brace to the last one; all of it where one is missing."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0:
        return text.strip()
    return text[start : end + 1] if end > start else text[start:]


def _xml_calls(markup: str, schemas: Schemas) -> Iterator[ParsedCall]:
    for part in FUNCTION.split(markup)[1:]:
        head, _, body = part.partition(">")
        name = head.strip("\"' \n")
        if body.lstrip().startswith("{"):
            yield name, _between_braces(body)
            continue
        values: dict[str, Any] = {}
        is_whole = True
        for piece in PARAMETER.split(body)[1:]:
            key, _, rest = piece.partition(">")
            value, end, _ = rest.partition("</parameter>")
            is_whole = is_whole and bool(end)
            key = key.strip("\"' \n").split('"', maxsplit=1)[0]
            values[key] = _typed(value, schemas.get(name), key)
        yield name, values if is_whole else body


def _glm_call(markup: str, schemas: Schemas) -> ParsedCall:
    head, *pieces = markup.split("<arg_key>")
    name = head.rpartition("<tool_call>")[2].strip()
    values: dict[str, Any] = {}
    for piece in pieces:
        key, _, rest = piece.partition("</arg_key>")
        value, end, _ = rest.partition("<arg_value>")[2].partition("</arg_value>")
        if not end:
            return name, markup
        values[key.strip()] = _typed(value, schemas.get(name), key.strip())
    return name, values


def _typed(value: str, schema: Mapping[str, Any] | None, key: str) -> Any:
    """Return a value that was written without quotes in the type that its schema asks for."""
    value = value.removeprefix("\n").removesuffix("\n")
    properties = (schema or {}).get("properties")
    field = properties.get(key) if isinstance(properties, Mapping) else None
    kind = field.get("type") if isinstance(field, Mapping) else "string"
    if kind == "string" or (isinstance(kind, list) and "string" in kind):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
