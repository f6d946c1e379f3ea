"""Reads a model's thoughts from the fields of a message, and keeps what is to be sent back.

Providers refuse the next request of a tool loop that lacks the thoughts, or the signatures of
thoughts, that belong to a call. Tags inside the text are `cmw_agent.llm.content_scanner`'s.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

TEXT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_text")
DETAILS = "reasoning_details"
BLOCKS = "thinking_blocks"  # LiteLLM's, mostly beside `reasoning_content`
# Further fields of a message, whose form only the provider knows.
OPAQUE = (
    "extra_content",
    "thought_signature",
    "signature",
    "reasoning_signature",
    "reasoning_opaque",
    "encrypted_content",
    BLOCKS,
    "provider_specific_fields",
    "output",  # items of the Responses API
)
SAME_ENTRY = ("type", "index", "id")  # what consecutive pieces of one detail share
JOINED = ("text", "summary", "data")  # whose pieces are joined
MAX_DETAILS = 10_000  # entries of one list or object of a message
MAX_MODELS = 100  # whose way of starting is remembered
MORE_EVIDENCE = 4
MAX_LEVELS = 5  # of lists and objects around a thought's text


class ThoughtFields:
    """The thoughts of one message that come in fields of their own."""

    __slots__ = ("_details", "_opaque", "_texts")

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._details: list[dict[str, Any]] = []
        self._opaque: dict[str, Any] = {}

    def add(self, delta: Mapping[str, Any]) -> str:
        """Add a delta or message; return the thoughts in it, once where it holds them twice."""
        thought = ""
        for name in TEXT_FIELDS:
            value = delta.get(name)
            if value and (text := thought_text(value)):
                thought = thought or text
                if isinstance(value, str):
                    self._texts.setdefault(name, []).append(text)
                else:
                    self._opaque[name] = value
        if isinstance(details := delta.get(DETAILS), list):
            for entry in details:
                thought_of_entry = self._add_detail(entry)
                if not any(self._texts.values()):
                    thought += thought_of_entry
        if not thought and not any(self._texts.values()):
            thought = thought_text(delta.get(BLOCKS))
        for name in OPAQUE:
            if value := delta.get(name):
                self._opaque[name] = _joined(self._opaque.get(name), value)
        return thought

    def _add_detail(self, entry: Any) -> str:
        if not isinstance(entry, Mapping):
            return ""
        last = self._details[-1] if self._details else None
        keys = [key for key in SAME_ENTRY if key in entry or (last is not None and key in last)]
        is_same = last is not None and all(
            entry.get(key) == last.get(key) or (key == "id" and entry.get(key) is None)
            for key in keys
        )
        if last is not None and is_same:
            for key, value in entry.items():
                pieces = last.get(f"\n{key}") if key in JOINED and isinstance(value, str) else None
                if isinstance(pieces, list):
                    pieces.append(value)
                elif value is not None:
                    last[key] = value
        elif len(self._details) < MAX_DETAILS:
            copy = dict(entry)
            for key in JOINED:
                if isinstance(copy.get(key), str):
                    copy[f"\n{key}"] = [copy[key]]  # pieces, joined once at the end
            self._details.append(copy)
        return thought_text(entry.get("text") or entry.get("summary"))

    def wire(self) -> dict[str, Any]:
        """Return the fields to send back with the message, as they came."""
        fields: dict[str, Any] = {name: "".join(texts) for name, texts in self._texts.items()}
        if self._details:
            fields[DETAILS] = [_whole(entry) for entry in self._details]
        return {**fields, **self._opaque}


def thought_text(value: Any, levels: int = MAX_LEVELS) -> str:
    """Return the text of a thought: a string, an object that holds one, or a list of them."""
    if isinstance(value, str):
        return value
    if not levels:
        return ""
    if isinstance(value, Mapping):
        for name in ("text", "content", "thinking", "summary", "reasoning"):
            if text := thought_text(value.get(name), levels - 1):
                return text
        return ""
    if isinstance(value, list):
        return "".join(thought_text(item, levels - 1) for item in value)
    return ""


def _whole(entry: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key: value for key, value in entry.items() if not key.startswith("\n")}
    for key, pieces in entry.items():
        if key.startswith("\n"):
            fields[key[1:]] = "".join(pieces)
    return fields


def add_fields(fields: dict[str, Any], further: Mapping[str, Any], limit: int) -> None:
    """Add `further` in place, up to `limit` fields: a copy for each piece takes quadratic time."""
    for name, value in further.items():
        if name in fields or len(fields) < limit:
            fields[name] = value


def _joined(earlier: Any, further: Any) -> Any:
    """Return `earlier` with `further` added, or a copy of `further` where they do not go together."""
    if isinstance(earlier, list) and isinstance(further, list):
        earlier += further[: max(0, MAX_DETAILS - len(earlier))]
        return earlier
    if isinstance(earlier, dict) and isinstance(further, dict):
        add_fields(earlier, further, MAX_DETAILS)
        return earlier
    return copy(further)


class ImpliedThinking:
    """The models that start inside their thoughts: their template has opened the tag.

    A model that did so once is expected to do so again. Where it did not, that takes four times
    as much to be believed again: whoever makes a model write such a tag delays no more than an
    answer or two of others.
    """

    __slots__ = ("_models",)

    def __init__(self) -> None:
        self._models: dict[str, tuple[int, int]] = {}  # name -> times needed, times seen in a row

    def expects(self, model: str) -> bool:
        """Return whether the next message of `model` is expected to start with thoughts."""
        needed, seen = self._models.get(model, (1, 0))
        return seen >= needed

    def learn(self, model: str, *, started_inside: bool) -> None:
        """Remember how a message of `model` started."""
        needed, seen = self._models.get(model, (1, 0))
        if not started_inside:
            if not seen:
                return
            needed, seen = (needed * MORE_EVIDENCE if seen >= needed else needed), -1
        if model not in self._models and len(self._models) >= MAX_MODELS:
            self._models.clear()
        self._models[model] = (needed, min(seen + 1, needed))
