"""Makes the request of a call from the arguments that a model gave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from cmw_agent.tools.openapi.operations import FORM, ApiOperation, ApiParameter

JSON: Final = "application/json"
SEPARATORS: Final = {"spaceDelimited": " ", "pipeDelimited": "|"}


class WrongArgumentError(Exception):
    """An argument cannot be sent; the message is a sentence for the model."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request to a service.

    Attributes:
        method: HTTP method.
        target: Path and query, below the service's address.
        headers: Headers that the call brings.
        body: The body, or None.
    """

    method: str
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


def request_of(operation: ApiOperation, arguments: Mapping[str, Any]) -> ApiRequest:
    """Return the request of a call; arguments that the operation does not have are left out.

    Raises:
        WrongArgumentError: An argument is missing, or cannot stand where it must.
    """
    path = operation.path
    headers: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for parameter in operation.parameters:
        value = arguments.get(parameter.argument)
        if parameter.location == "path":
            path = path.replace(f"{{{parameter.name}}}", _segment(parameter, value))
        elif value is None:
            continue
        elif parameter.location == "query":
            pairs += _pairs(parameter, value)
        else:
            headers[parameter.name] = _header(parameter, value)
    body = _body(operation, arguments, headers)
    query = urlencode(pairs)
    return ApiRequest(operation.method, f"{path}?{query}" if query else path, headers, body)


def _segment(parameter: ApiParameter, value: object) -> str:
    """Return a value as one segment of the path: none that leads elsewhere."""
    text = _joined(value)
    if not text or not text.strip("."):
        raise WrongArgumentError(f"{parameter.argument} must be given, and must not be dots alone.")
    return quote(text, safe="")


def _header(parameter: ApiParameter, value: object) -> str:
    text = _joined(value)
    if not text.isascii() or not text.isprintable():
        raise WrongArgumentError(f"{parameter.argument} must be one line of ASCII characters.")
    return text


def _pairs(parameter: ApiParameter, value: object) -> Iterator[tuple[str, str]]:
    if parameter.is_json:
        yield parameter.name, orjson.dumps(value).decode()
    elif isinstance(value, list):
        if parameter.explode:
            yield from ((parameter.name, _text(item)) for item in value)
        else:
            yield parameter.name, SEPARATORS.get(parameter.style, ",").join(map(_text, value))
    elif isinstance(value, Mapping):
        is_deep = parameter.style == "deepObject"
        for key, item in value.items():
            yield f"{parameter.name}[{key}]" if is_deep else str(key), _text(item)
    else:
        yield parameter.name, _text(value)


def _body(
    operation: ApiOperation, arguments: Mapping[str, Any], headers: dict[str, str]
) -> bytes | None:
    value = arguments.get(operation.body) if operation.body is not None else None
    if value is None:
        return None
    kind = operation.media_type.partition(";")[0].strip().lower()
    headers["Content-Type"] = JSON if kind == "*/*" else operation.media_type
    if kind == FORM:
        if not isinstance(value, Mapping):
            raise WrongArgumentError(f"{operation.body} must be an object.")
        pairs = ((str(key), _text(item)) for key, item in value.items())
        return urlencode(list(pairs)).encode()
    if kind.startswith("text/"):
        return _text(value).encode()
    return orjson.dumps(value)


def _joined(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return _text(value)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
