"""Reads what a server says of a failure: every known shape of an error, without its secrets.

An error's text is stored nowhere and shown to no user: it is logged, and decides what the app does
next. Keys are struck out, and so is what the text quotes of the request's messages: those belong
in no log, and a user's words must not decide what is sent for others.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import SecretStr

from cmw_agent.llm.error_kinds import HTML
from cmw_agent.llm.errors import ErrorDetails

MAX_MESSAGE = 300  # characters that are logged
HEAD, TAIL = 900, 300  # characters of a message that are read; templates tell the cause at the end
MAX_QUOTED = 32_000  # characters of the request's newest messages that are looked for
MIN_QUOTE = 12  # characters
MAX_DEPTH = 6
MIN_KEY = 8  # characters of a key that is struck out by itself
STRUCK = "[…]"

MESSAGE_NAMES = (
    "message",
    "msg",
    "detail",
    "error_message",
    "error_msg",
    "errorMessage",
    "status_msg",
)
MORE_NAMES = ("description", "faultstring", "Message", "title", "reason", "error", "errors")
NESTED_NAMES = ("error", "errors", "detail", "fault", "failure", "response", "message", "base_resp")
KEYS = re.compile(
    r"\bBearer\s+\S+"
    r"|\b(?:sk|pk|rk|xai|nvapi|r8|gsk|hf|fw)[-_][\w*.-]{6,}|\bAIza[\w*-]{6,}"
    r"|\beyJ[\w-]{6,}(?:\.[\w-]*)*"
    r"|\b(?:[a-z]+[-_])?(?:key|token|secret|password)=[^\s&\"']+"
    # Long runs of letters and digits: keys of unknown form.
    r"|(?<![A-Za-z0-9_])(?=[A-Za-z_]*\d)[A-Za-z0-9_]{32,}"
    r"|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40,}={1,2}",
    re.IGNORECASE,
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
SALVAGED = re.compile(r'"(?:message|msg|detail|error)"\s{0,9}:\s{0,9}"((?:[^"\\]|\\.){1,2000})')
PAGE = re.compile(r"<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
TAG = re.compile(r"<[^<>]*>")
INVISIBLE = re.compile(r"<(script|style)\b.*?(</\1>|\Z)", re.IGNORECASE | re.DOTALL)


class ErrorReader:
    """Makes `ErrorDetails` of what one endpoint answers.

    Args:
        secrets: Values that are struck out wherever they stand, such as the endpoint's key.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= MIN_KEY}, key=len, reverse=True)

    def striking(self, secret: SecretStr | None) -> "ErrorReader":
        """Return a reader that strikes this out too, where it is one."""
        if secret is None:
            return self
        return ErrorReader([*self._secrets, secret.get_secret_value()])

    def of_body(self, status: int, body: bytes, request: bytes) -> ErrorDetails:
        """Return the details of an HTTP error.

        Args:
            status: HTTP status.
            body: The response's body, or its beginning.
            request: The request's body, whose messages are struck out.
        """
        text = body.decode(errors="replace").lstrip("\ufeff").strip()
        document = _parsed(text)
        if document is None and PAGE.match(text):
            page = html.unescape(TAG.sub(" ", INVISIBLE.sub(" ", text)))
            return self._details({"message": page, "type": HTML}, status, quotable(request))
        if document is None:
            salvaged = SALVAGED.search(text)
            document = salvaged[1] if salvaged and text.startswith(("{", "[")) else text
        return self._details(document, status, quotable(request))

    def of_event(self, event: object, request: bytes) -> ErrorDetails:
        """Return the details of an error inside a stream.

        Args:
            event: The event's parsed JSON: the error, or an object that holds it.
            request: The request's body, whose messages are struck out.
        """
        return self._details(event, None, quotable(request))

    def cleaned(self, details: ErrorDetails, request: bytes) -> ErrorDetails:
        """Return details that others have read, with the same struck out.

        Args:
            details: Of an error inside a stream.
            request: The request's body.
        """
        text = self._clean(details.text or details.message, quotable(request))
        words = {"code": details.code, "type": details.type, "param": details.param}
        names = {name: self._first_text(words, name) for name in words}
        return ErrorDetails(details.status, **names, message=text[:MAX_MESSAGE], text=text)

    def _clean(self, text: str, quoted: str) -> str:
        text = self._without_keys(_cut(CONTROL.sub(" ", text)))
        return " ".join(without_quotes(text, quoted).split())

    def _details(self, document: object, status: int | None, quoted: str) -> ErrorDetails:
        error = _innermost(document)
        text = self._clean(_message(document, 0), quoted)
        return ErrorDetails(
            status=status if status is not None else _status(error),
            code=self._first_text(error, "code", "error_code", "status"),
            type=self._first_text(error, "type", "error_type", "status"),
            param=self._param(error),
            message=text[:MAX_MESSAGE],
            text=text,
        )

    def _without_keys(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, STRUCK)
        return KEYS.sub(STRUCK, text)

    def _first_text(self, error: Mapping[str, Any], *names: str) -> str | None:
        for name in names:
            value = error.get(name)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                return self._without_keys(CONTROL.sub(" ", str(value)[:100]))
        return None

    def _param(self, error: Mapping[str, Any]) -> str | None:
        location = error.get("loc")
        if isinstance(location, list):
            # FastAPI: ["body", "messages", 0, "content"].
            parts = [str(part) for part in location[:8] if part != "body"]
            return self._first_text({"param": ".".join(parts)}, "param")
        return self._first_text(error, "param", "parameter", "field")


def quotable(request: bytes) -> str:
    """Return the text of a request's newest messages, as far as it is looked for in errors."""
    parts: list[str] = []
    left = MAX_QUOTED
    document = _parsed(request)
    document = document if isinstance(document, dict) else {}
    messages = document.get("messages") or document.get("input")
    for message in reversed(messages if isinstance(messages, list) else [{"": messages}]):
        if left <= 0:
            break
        if isinstance(message, dict) and message.get("role") not in ("system", "developer"):
            text = "\n".join(_strings(message, 0))[-left:]
            parts.append(text)
            left -= len(text)
    return "\n\0".join(parts)


def without_quotes(text: str, quoted: str) -> str:
    """Return `text` with each run of `MIN_QUOTE` or more characters struck out that is in `quoted`."""
    if not quoted:
        return text
    parts: list[str] = []
    start = position = 0
    while position + MIN_QUOTE <= len(text):
        found = quoted.find(text[position : position + MIN_QUOTE])
        if found < 0:
            position += 1
            continue
        end = position + MIN_QUOTE
        while end < len(text) and text[end : end + 1] == quoted[found + end - position :][:1]:
            end += 1
        parts += [text[start:position], STRUCK]
        start = position = end
    return "".join([*parts, text[start:]])


def _parsed(data: str | bytes) -> Any:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict | list | str) else None


def _innermost(document: object) -> Mapping[str, Any]:
    """Return the object that holds code, type and parameter: the deepest error in `document`."""
    error: Mapping[str, Any] = {}
    for _ in range(MAX_DEPTH):
        if isinstance(document, list):
            document = document[0] if document else None
        if not isinstance(document, dict):
            break
        error = {**error, **document}
        inner = (_nested(document.get(name)) for name in NESTED_NAMES)
        document = next((value for value in inner if value is not None), None)
    return error


def _nested(value: object) -> dict[str, Any] | list[Any] | None:
    """Return an object or a list, also one that is encoded as a string."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        value = _parsed(value)
    return value if isinstance(value, dict | list) else None


def _message(value: object, depth: int) -> str:
    """Return the text of an error in any of its shapes."""
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, str):
        inner = _parsed(value) if value[:1] in ("{", "[") else None
        return (inner is not None and _message(inner, depth + 1)) or value
    if isinstance(value, list):
        return "; ".join(filter(None, (_message(item, depth + 1) for item in value[:5])))
    if not isinstance(value, dict):
        return ""
    text = _named_message(value, depth)
    # OpenRouter: the provider's own error, as text in the gateway's.
    metadata = value.get("metadata")
    raw = _message(metadata.get("raw"), depth + 1) if isinstance(metadata, dict) else ""
    return f"{text}: {raw}" if text and raw else text or raw


def _named_message(value: Mapping[str, Any], depth: int) -> str:
    for name in ("error", *MESSAGE_NAMES, *MORE_NAMES):
        if text := _message(value.get(name), depth + 1):
            return text
    for inner in list(value.values())[:5]:
        # Errors by field: {"errors": {"temperature": ["is not known"]}}.
        if isinstance(inner, dict | list) and (text := _message(inner, depth + 1)):
            return text
    return ""


def _status(error: Mapping[str, Any]) -> int | None:
    """Return the HTTP status that an error in a stream names."""
    for name in ("status_code", "status", "code"):
        value = error.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _strings(value: object, depth: int) -> Sequence[str]:
    if isinstance(value, str):
        return () if value.startswith("data:") else (value,)
    if depth > MAX_DEPTH or not isinstance(value, dict | list):
        return ()
    items = value.values() if isinstance(value, dict) else value
    return [text for item in items for text in _strings(item, depth + 1)]


def _cut(text: str) -> str:
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} … {text[-TAIL:]}"
