"""Assembles the tool calls of one message from their pieces, and parses their arguments strictly."""

import json
import re
import secrets
import string
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.llm.thinking import TOO_LARGE, add_fields

NOT_AN_OBJECT = "the arguments are not a JSON object"
NAMELESS = "unnamed_tool"  # on the wire, where servers want a name
NO_NAME = "the call names no tool"
NO_CALL = "this is not a tool call"
MAX_CALLS = 64  # of one message
MAX_ARGUMENTS = 4_194_304  # characters of all arguments of one message
MAX_EXTRA = 64  # fields of one call that are carried back, and of an object in one of them
MAX_NAME = 200  # characters
MAX_ENCODINGS = 2  # times that arguments may be encoded as a JSON string
# Mistral takes ids of this form alone, everybody else takes them too.
ID_CHARACTERS, ID_LENGTH = string.ascii_letters + string.digits, 9
SURROGATE = "\\ud"  # how an escaped surrogate begins
JSON_SIGNS = re.compile(r'["\\{}\[\]]')
WIRE_NAME = re.compile(r"[^A-Za-z0-9_-]")
KNOWN_FIELDS = frozenset({"index", "id", "type", "function", "name", "arguments"})
FUNCTION_FIELDS = frozenset({"name", "arguments", "parameters"})


class JsonEnd:
    """Finds out whether pieces of text are one whole JSON object so far, reading each once."""

    __slots__ = ("_depth", "_escaped", "_quoted", "whole")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False
        self.whole = False

    def add(self, text: str) -> None:
        """Read more of the text."""
        if self._escaped and text:
            text, self._escaped = text[1:], False
        position = 0
        while (sign := JSON_SIGNS.search(text, position)) is not None:
            position = sign.end()
            if self._quoted:
                if sign[0] == "\\":
                    self._escaped = position == len(text)
                    position += 1
                self._quoted = sign[0] != '"'
            elif sign[0] == '"':
                self._quoted = True
            elif sign[0] in "{[":
                self._depth += 1
                self.whole = False
            elif sign[0] in "}]":
                self._depth -= 1
                self.whole = self._depth == 0


@dataclass(slots=True)
class _Call:
    """One call while its pieces arrive."""

    id: str | None = None
    name: str = ""
    texts: list[str] = field(default_factory=list)
    length: int = 0  # characters of `texts`
    value: dict[str, Any] | None = None  # arguments that came as an object
    error: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    function_extra: dict[str, Any] = field(default_factory=dict)
    end: JsonEnd = field(default_factory=JsonEnd)
    read: int = 0  # number of `texts` that `end` has read

    @property
    def has_arguments(self) -> bool:
        return bool(self.texts) or self.value is not None

    def is_whole(self) -> bool:
        """Return whether the arguments so far are whole, and no further piece is expected."""
        for text in self.texts[self.read :]:
            self.end.add(text)
        self.read = len(self.texts)
        return self.value is not None or self.end.whole


class ToolCalls:
    """Joins the pieces of a message's tool calls, and parses their arguments once at the end.

    Arguments that are not one whole JSON object make an invalid call, which is not run: the model
    is told what was wrong with it.

    Args:
        known: Names of the tools that the model was offered.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_known", "_parsed", "_size")

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = known
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._size = 0
        self._parsed: list[tuple[_Call, ToolCall | InvalidToolCall]] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: Any) -> None:
        """Add pieces as they are on the wire: a list of dicts, or one.

        Raises:
            ModelFailedError: There are too many calls, or their arguments are too long.
        """
        for piece in pieces if isinstance(pieces, list) else [pieces]:
            if isinstance(piece, Mapping):
                self._add(piece)
            elif piece:
                self._open(None, None).error = NO_CALL

    def add_call(self, name: str, arguments: Any) -> None:
        """Add one whole call.

        Raises:
            ModelFailedError: There are too many calls, or their arguments are too long.
        """
        call = self._open(None, None)
        self._set_name(call, name)
        self._add_arguments(call, arguments)

    def _add(self, piece: Mapping[str, Any]) -> None:
        function = piece.get("function")
        if not isinstance(function, Mapping):
            function = piece if "name" in piece or "arguments" in piece else {}
        name = function.get("name")
        name = name.strip()[:MAX_NAME] if isinstance(name, str) else ""
        arguments = function.get("arguments")
        if arguments is None:
            arguments = function.get("parameters")
        call_id, index = _text_id(piece.get("id")), _index(piece.get("index"))
        extra = {key: value for key, value in piece.items() if key not in KNOWN_FIELDS}
        if not (name or arguments or call_id or extra) and (index is None or not self._calls):
            return
        has_arguments = arguments not in (None, "")
        call = self._target(index, call_id, name, has_arguments=has_arguments)
        if call_id and name and self._is_repeated(call_id, name, arguments):
            return
        if call is None:
            call = self._open(index, call_id)
        elif call_id and not call.id:
            call.id = call_id
            self._by_id[call_id] = call
        self._set_name(call, name)
        self._add_arguments(call, arguments)
        _merge(call.extra, extra)
        if function is not piece:
            further = {k: v for k, v in function.items() if k not in FUNCTION_FIELDS}
            _merge(call.function_extra, further)

    def _target(
        self, index: int | None, call_id: str | None, name: str, *, has_arguments: bool
    ) -> _Call | None:
        """Return the call that a piece continues; None where it opens a new one."""
        if index is not None and (index in self._by_index or call_id or name):
            call = self._by_index.get(index)
        else:
            call = self._by_id.get(call_id or "") or (self._calls[-1] if self._calls else None)
            if call is not None and index is not None and has_arguments and call.is_whole():
                call = None
        if call is None:
            return None
        if call_id and call.id and call_id != call.id:
            opens = bool(name) or call.is_whole()
        elif not name or not call.name:
            opens = False
        elif call.is_whole():
            opens = has_arguments or name != call.name
        else:
            opens = not call.has_arguments and name != call.name and self._is_other(call, name)
        return None if opens else call

    def _is_repeated(self, call_id: str, name: str, arguments: Any) -> bool:
        """Return whether a piece is a whole call that has come before: some servers end with it."""
        call = self._by_id.get(call_id)
        if call is None or call.name != name or not call.is_whole():
            return False
        if call.value is not None:
            return bool(arguments == call.value)
        # The lengths first: a long call is not joined for each short piece that follows it.
        is_as_long = isinstance(arguments, str) and len(arguments) == call.length
        return is_as_long and arguments == "".join(call.texts)

    def _is_other(self, call: _Call, name: str) -> bool:
        return name in self._known and call.name in self._known

    def _open(self, index: int | None, call_id: str | None) -> _Call:
        if len(self._calls) >= MAX_CALLS:
            raise ModelFailedError(TOO_LARGE, kind="too_large")
        call = _Call(call_id)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if call_id:
            self._by_id[call_id] = call
        return call

    def _set_name(self, call: _Call, name: str) -> None:
        """Set a call's name once: servers repeat it, and a few send it in pieces."""
        if not call.name:
            call.name = name
        elif name and name != call.name and call.name not in self._known:
            if name.startswith(call.name):
                call.name = name
            elif any(known.startswith(call.name + name) for known in self._known):
                call.name += name

    def _add_arguments(self, call: _Call, arguments: Any) -> None:
        if isinstance(arguments, str):
            if arguments:
                call.texts.append(arguments)
            call.length += len(arguments)
            self._size += len(arguments)
        elif isinstance(arguments, Mapping):
            try:
                self._size += len(json.dumps(arguments, ensure_ascii=False))
            except RecursionError:
                call.error, arguments = NOT_AN_OBJECT, {}
            call.value = {} if call.value is None else call.value
            call.value.update(arguments)
        elif arguments is not None:
            call.error = NOT_AN_OBJECT
        if self._size > MAX_ARGUMENTS:
            raise ModelFailedError(TOO_LARGE, kind="too_large")

    def texts(self) -> Iterable[str]:
        """Return the pieces of names and arguments so far, from which tokens are estimated."""
        for call in self._calls:
            yield call.name
            yield from call.texts

    def parse(self) -> tuple[list[ToolCall], list[InvalidToolCall]]:
        """Return the valid calls and the invalid ones, each with an id that no other has."""
        self._parsed = []
        used: set[str] = set()
        for call in self._calls:
            if not call.id or call.id in used:
                call.id = new_call_id()
            used.add(call.id)
            self._parsed.append((call, self._parse(call)))
        calls: list[ToolCall] = [p for _, p in self._parsed if p["type"] == "tool_call"]
        invalid = [p for _, p in self._parsed if p["type"] == "invalid_tool_call"]
        return calls, invalid

    def _parse(self, call: _Call) -> ToolCall | InvalidToolCall:
        text, error = "".join(call.texts), call.error
        name = call.name
        if name not in self._known and name.removeprefix("functions.") in self._known:
            name = call.name = name.removeprefix("functions.")
        arguments = call.value if call.value is not None else json_object(text)
        if error is None and not name:
            error = NO_NAME
        if error is None and arguments is None:
            error = NOT_AN_OBJECT
        if error is not None or arguments is None:
            return invalid_tool_call(name=name or None, args=text, id=call.id, error=error)
        if SURROGATE in text.lower():
            arguments = sanitize_json(arguments)
        return tool_call(name=name, args=arguments, id=call.id)

    def wire(self) -> list[dict[str, Any]]:
        """Return the parsed calls as they are sent back, with what the server sent beside them.

        The arguments of invalid calls are sent as an empty object: servers refuse whatever is not
        JSON, and the call's result quotes them.
        """
        return [self._on_wire(call, parsed) for call, parsed in self._parsed]

    def _on_wire(self, call: _Call, parsed: ToolCall | InvalidToolCall) -> dict[str, Any]:
        arguments = json.dumps(parsed["args"]) if parsed["type"] == "tool_call" else "{}"
        name = call.name
        if name not in self._known:
            name = WIRE_NAME.sub("_", name)[:64] or NAMELESS
        function = {**call.function_extra, "name": name, "arguments": arguments}
        return {**call.extra, "id": call.id, "type": "function", "function": function}


def new_call_id() -> str:
    """Return a random id of a call."""
    return "".join(secrets.choice(ID_CHARACTERS) for _ in range(ID_LENGTH))


def json_object(text: str) -> dict[str, Any] | None:
    """Return the arguments that `text` holds; None where it is not one whole JSON object.

    Nothing at all and ``null`` stand for no arguments; an object that was encoded as a JSON
    string is decoded.
    """
    if not text or text.isspace():
        return {}
    value: Any = text
    for _ in range(MAX_ENCODINGS):
        try:
            value = json.loads(value, strict=False, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, str):
            break
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _merge(fields: dict[str, Any], further: Mapping[str, Any]) -> None:
    """Add `further` to the fields that are carried back; objects get the fields of both."""
    for key, value in further.items():
        if value is None or (key not in fields and len(fields) >= MAX_EXTRA):
            continue
        earlier = fields.get(key)
        if isinstance(earlier, dict) and isinstance(value, dict):
            add_fields(earlier, value, MAX_EXTRA)
        else:
            fields[key] = dict(value) if isinstance(value, dict) else value


def _text_id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value[:MAX_NAME] if isinstance(value, str) and value else None


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
