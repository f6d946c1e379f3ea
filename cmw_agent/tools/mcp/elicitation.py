"""Questions of MCP servers to the user: a form's fields, asked one after the other."""

from collections.abc import Mapping
from typing import Any

from mcp_types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult

from cmw_agent.core.errors import UserError
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.language import Language
from cmw_agent.tools.approvals import UserQuestions

MAX_FIELDS = 10
MAX_MESSAGE = 1_000  # characters of what a server asks
MAX_CHOICES = 50
MAX_ANSWER = 10_000
TRIES = 3  # of an answer that does not fit
YES, NO = ("yes", "y", "true", "1", "да"), ("no", "n", "false", "0", "нет")
Value = str | int | float | bool | list[str] | None


class _NoAnswerError(Exception):
    """The user gave no answer that fits."""


async def elicited(
    server: str, params: ElicitRequestParams, questions: UserQuestions, language: Language
) -> ElicitResult:
    """Ask the user what a server wants to know, and return the answer for the server.

    Addresses that a server wants opened are declined: it could be any page.

    Args:
        server: The server's name, which the user is shown.
        params: What the server asks.
        questions: Asks the user.
        language: The user's.
    """
    if not isinstance(params, ElicitRequestFormParams):
        return ElicitResult(action="decline")
    schema: Mapping[str, Any] = params.requested_schema
    fields = schema.get("properties")
    message = str(sanitize_json(params.message))[:MAX_MESSAGE]
    if not isinstance(fields, dict) or len(fields) > MAX_FIELDS:
        return ElicitResult(action="decline")
    heading = language.gettext("{server} asks: {message}", server=server, message=message)
    try:
        if not fields:
            decision = await questions.approve(f"{server}_question", {"message": message})
            is_yes = decision.answer == "approved"
            return ElicitResult(action="accept", content={}) if is_yes else _declined()
        required = schema.get("required") or ()
        content = {
            name: await _ask_field(name, field, heading, questions, language)
            for name, field in fields.items()
            if name in required or len(fields) == 1 or isinstance(field, dict)
        }
    except (_NoAnswerError, UserError):
        return _declined()
    known = {name: value for name, value in content.items() if value is not None}
    if any(name not in known for name in required):
        return _declined()
    return ElicitResult(action="accept", content=known)


def _declined() -> ElicitResult:
    return ElicitResult(action="decline")


async def _ask_field(
    name: str, field: object, heading: str, questions: UserQuestions, language: Language
) -> Value:
    """Return the user's answer for one field; None where it stays empty."""
    if not isinstance(field, dict):
        raise _NoAnswerError
    lines = [heading, _field_text(name, field, language)]
    for _ in range(TRIES):
        answer = await questions.ask("\n".join(lines))
        if answer is None:
            raise _NoAnswerError
        if not answer.strip():
            return _default(field)
        try:
            return _value(answer.strip()[:MAX_ANSWER], field)
        except ValueError:
            lines = [language.gettext("This answer does not fit; please try again."), *lines[-2:]]
    raise _NoAnswerError


def _field_text(name: str, field: Mapping[str, Any], language: Language) -> str:
    """Return the question: a field's title, description and choices."""
    title, description = field.get("title") or name, field.get("description")
    text = f"{title}: {description}" if description else str(title)
    choices = _choices(field)
    if field.get("type") == "boolean":
        choices = {language.gettext("yes"): True, language.gettext("no"): False}
    if choices:
        text = f"{text} ({', '.join(list(choices)[:MAX_CHOICES])})"
    return str(sanitize_json(text))[:MAX_MESSAGE]


def _choices(field: Mapping[str, Any]) -> dict[str, Value]:
    """Return what may be chosen, by the words that the user is shown."""
    items = field.get("items")
    source = items if isinstance(items, dict) else field
    values, names = source.get("enum"), source.get("enumNames")
    if isinstance(values, list):
        shown = names if isinstance(names, list) and len(names) == len(values) else values
        return {str(word): str(value) for word, value in zip(shown, values, strict=True)}
    titled = source.get("oneOf") or source.get("anyOf")
    if not isinstance(titled, list):
        return {}
    pairs = [item for item in titled if isinstance(item, dict) and "const" in item]
    return {str(item.get("title") or item["const"]): str(item["const"]) for item in pairs}


def _default(field: Mapping[str, Any]) -> Value:
    default = field.get("default")
    return default if isinstance(default, str | int | float | bool) else None


def _value(answer: str, field: Mapping[str, Any]) -> Value:
    """Return the user's words as a value of the field's type.

    Raises:
        ValueError: They are none.
    """
    kind, choices = field.get("type", "string"), _choices(field)
    if kind == "boolean":
        if answer.lower() not in (*YES, *NO):
            raise ValueError
        return answer.lower() in YES
    if kind == "integer":
        return int(answer)
    if kind == "number":
        return float(answer.replace(",", "."))
    if kind == "array":
        return [str(_chosen(part.strip(), choices)) for part in answer.split(",") if part.strip()]
    return _chosen(answer, choices) if choices else answer


def _chosen(answer: str, choices: Mapping[str, Value]) -> Value:
    folded = {word.lower(): value for word, value in choices.items()}
    folded |= {str(value).lower(): value for value in choices.values()}
    if answer.lower() not in folded:
        raise ValueError
    return folded[answer.lower()]
