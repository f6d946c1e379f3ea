"""The operations of an OpenAPI document, each as a tool."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.tools.openapi.documents import ApiDocument, SchemaInliner

MAX_OPERATIONS = 1_000  # of one service
MAX_DESCRIPTION = 1_024
MAX_NAME = 64  # characters of a function's name, at OpenAI
MAX_SCHEMA = 30_000  # bytes
METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FORM: Final = "application/x-www-form-urlencoded"
HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# OpenAPI has these set by others than the caller; the rest would change how the request is framed.
NOT_GIVEN: Final = frozenset(
    {"accept", "content-type", "authorization", "cookie", "host", "content-length", "connection"}
    | {"transfer-encoding", "te", "trailer", "upgrade", "expect", "proxy-authorization"}
)
Location = Literal["path", "query", "header"]
LOCATIONS: Final[tuple[Location, ...]] = ("path", "query", "header")


@dataclass(frozen=True, slots=True)
class ApiParameter:
    """A parameter of an operation.

    Attributes:
        argument: Its name for the model.
        name: Its name in the request.
        location: Where it stands in the request.
        style: How lists and objects are written; OpenAPI's `style`.
        explode: Whether each item of a list is written by itself.
        is_json: Whether its value is written as JSON.
    """

    argument: str
    name: str
    location: Location
    style: str = "form"
    explode: bool = True
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """An operation of a service, as a tool. It is shared by all users and has no user's data.

    Attributes:
        name: Its name for the model.
        method: HTTP method, in capital letters.
        path: Its path below the service's address, with ``{name}`` for parameters.
        schema: The tool as sent to the model, in OpenAI's form.
        parameters: Its parameters.
        body: Name of the argument with the body; None where there is none.
        media_type: Of the body.
    """

    name: str
    method: str
    path: str
    schema: Mapping[str, Any] = field(repr=False)
    parameters: tuple[ApiParameter, ...] = ()
    body: str | None = None
    media_type: str = ""

    @property
    def changes(self) -> bool:
        """Whether it may change something: its method is none of those that only read."""
        return self.method not in READING


def operations_of(
    document: ApiDocument, prefix: str, offers: Callable[[str], bool]
) -> Iterator[ApiOperation]:
    """Yield the operations of a document that are offered; those that cannot be called are left out.

    Args:
        document: The document.
        prefix: Begins the name of each tool.
        offers: Whether an operation is offered, by its id, or ``METHOD /path`` where it has none.
    """
    taken: set[str] = set()
    for path, value in document.root["paths"].items():
        item = document.resolved(value)
        for method in METHODS:
            found = item.get(method)
            if not isinstance(found, Mapping) or not isinstance(path, str):
                continue
            given = found.get("operationId")
            operation_id = given if isinstance(given, str) and given else f"{method.upper()} {path}"
            if not path.startswith("/") or not offers(operation_id):
                continue
            name = _tool_name(f"{prefix}_{operation_id}", taken)
            reader = _OperationReader(document, name, method.upper(), path)
            operation = reader.operation(item, found)
            if operation is not None:
                taken.add(name)
                yield operation


def _tool_name(text: str, taken: set[str]) -> str:
    """Return a name that a function may have, and none has: what is cut ends with a digest."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")
    if len(name) <= MAX_NAME and name not in taken:
        return name
    for number in range(len(taken) + 1):
        digest = hashlib.sha256(f"{text}\0{number}".encode("utf-8", "replace")).hexdigest()[:6]
        cut = f"{name[: MAX_NAME - 7]}_{digest}"
        if cut not in taken:
            return cut
    raise AssertionError("more names than taken ones were tried")


class _OperationReader:
    """Reads one operation."""

    def __init__(self, document: ApiDocument, name: str, method: str, path: str) -> None:
        self._document = document
        self._name, self._method, self._path = name, method, path
        self._inliner = SchemaInliner(document)
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []

    def operation(self, item: Mapping[str, Any], found: Mapping[str, Any]) -> ApiOperation | None:
        """Return the operation; None where it cannot be called by what a model can give."""
        parameters = tuple(self._parameters(item, found))
        in_path = set(re.findall(r"{([^{}]*)}", self._path))
        if in_path != {one.name for one in parameters if one.location == "path"}:
            return None
        body, media_type, can_be_sent = self._body(found)
        if not can_be_sent:
            return None
        schema = {"type": "object", "properties": self._properties, "required": self._required}
        texts = [found.get(key) for key in ("summary", "description")]
        text = "\n".join(dict.fromkeys(text for text in texts if isinstance(text, str) and text))
        function = {
            "name": self._name,
            "description": (text or f"{self._method} {self._path}")[:MAX_DESCRIPTION],
            "parameters": _bounded(schema),
        }
        return ApiOperation(
            self._name,
            self._method,
            self._path,
            sanitize_json({"type": "function", "function": function}),
            parameters,
            body,
            media_type,
        )

    def _parameters(
        self, item: Mapping[str, Any], found: Mapping[str, Any]
    ) -> Iterator[ApiParameter]:
        listed: dict[tuple[str, str], Mapping[str, Any]] = {}
        for holder in (item, found):  # the operation's own replace those of its path
            values = holder.get("parameters")
            for value in values if isinstance(values, list) else ():
                parameter = self._document.resolved(value)
                name, location = parameter.get("name"), parameter.get("in")
                if isinstance(name, str) and isinstance(location, str):
                    listed[name, location] = parameter
        for location in LOCATIONS:
            for (name, where), parameter in listed.items():
                if where == location and _may_be_given(name, location):
                    yield self._parameter(name, location, parameter)

    def _parameter(
        self, name: str, location: Location, parameter: Mapping[str, Any]
    ) -> ApiParameter:
        content = parameter.get("content")
        is_json = isinstance(content, Mapping) and bool(content)
        holder = next(iter(content.values())) if is_json and isinstance(content, Mapping) else None
        source = holder if isinstance(holder, Mapping) else parameter
        schema = self._inliner.schema(source.get("schema"))
        description = parameter.get("description")
        if isinstance(description, str) and description:
            schema = {**schema, "description": description[:MAX_DESCRIPTION]}
        is_required = location == "path" or parameter.get("required") is True
        argument = self._add(name, location, schema, is_required=is_required)
        style = parameter.get("style")
        style = style if isinstance(style, str) else "form" if location == "query" else "simple"
        explode = parameter.get("explode")
        explodes = explode if isinstance(explode, bool) else style == "form"
        return ApiParameter(argument, name, location, style, explodes, is_json)

    def _body(self, found: Mapping[str, Any]) -> tuple[str | None, str, bool]:
        """Return the body's argument, its media type, and whether a call can be made at all."""
        described = self._document.resolved(found.get("requestBody"))
        content = described.get("content")
        if not isinstance(content, Mapping) or not content:
            return None, "", True
        media_type = next((kind for kind in content if _can_be_written(kind)), None)
        is_required = described.get("required") is True
        if media_type is None:
            return None, "", not is_required
        media = self._document.resolved(content[media_type])
        schema = self._inliner.schema(media.get("schema"))
        return self._add("body", "body", schema, is_required=is_required), media_type, True

    def _add(self, name: str, location: str, schema: dict[str, Any], *, is_required: bool) -> str:
        """Add a property under a name of its own, and return that."""
        argument = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:MAX_NAME] or location
        while argument in self._properties:
            argument = f"{location}_{argument}"
        self._properties[argument] = schema
        if is_required:
            self._required.append(argument)
        return argument


def _may_be_given(name: str, location: Location) -> bool:
    if location != "header":
        return bool(name)
    return HEADER.fullmatch(name) is not None and name.lower() not in NOT_GIVEN


def _can_be_written(media_type: object) -> bool:
    if not isinstance(media_type, str):
        return False
    kind = media_type.partition(";")[0].strip().lower()
    is_json = kind in ("application/json", "*/*") or kind.endswith("+json")
    return is_json or kind == FORM or kind.startswith("text/")


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that models can be sent: where it is too large, the names of arguments alone."""
    try:
        if len(orjson.dumps(schema)) <= MAX_SCHEMA:
            return schema
    except TypeError:  # YAML's dates, and numbers as names
        pass
    return {**schema, "properties": {name: {} for name in schema["properties"]}}
