"""Reads a model's thoughts from the fields of a message, and keeps what is to be sent back.

Providers refuse the next request of a tool loop that lacks the thoughts, or the signatures of
thoughts, that belong to a call. Tags inside the text are `cmw_agent.llm.content_scanner`'s.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.language import wording

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
TOO_LARGE = wording("The model's answer was too large; please ask for less at once.")
MAX_DETAIL_CHARS = 16_777_216  # of one message, as of its thoughts
MAX_DETAILS = 10_000  # entries of one list or object of a message
MAX_REMEMBERED = 10_000  # owners' models whose way of starting is remembered
MORE_EVIDENCE = 4
MAX_LEVELS = 5  # of lists and objects around a thought's text


class ThoughtFields:
    """The thoughts of one message that come in fields of their own."""

    __slots__ = ("_detail_chars", "_details", "_opaque", "_texts")

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._details: list[dict[str, Any]] = []
        self._detail_chars = 0
        self._opaque: dict[str, Any] = {}

    def add(self, delta: Mapping[str, Any]) -> str:
        """Add a delta or message; return the thoughts in it, once where it holds them twice.

        Raises:
            ModelFailedError: The message is too large.
        """
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
        # Beside another field of thoughts they are shown nowhere, and counted nowhere else.
        self._detail_chars += sum(len(v) for v in entry.values() if isinstance(v, str))
        if self._detail_chars > MAX_DETAIL_CHARS:
            raise ModelFailedError(TOO_LARGE, kind="too_large")
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
    as much to be believed again. It is remembered for each owner: whoever makes a model write such
    a tag changes what they see themselves, and nothing that others see.
    """

    __slots__ = ("_models",)

    def __init__(self) -> None:
        # (owner, name) -> times needed, times seen in a row
        self._models: dict[tuple[str, str], tuple[int, int]] = {}

    def expects(self, owner: str | None, model: str) -> bool:
        """Return whether the next message of `model` to `owner` is expected to start with thoughts."""
        if owner is None:
            return False
        needed, seen = self._models.get((owner, model), (1, 0))
        return seen >= needed

    def learn(self, owner: str | None, model: str, *, started_inside: bool) -> None:
        """Remember how a message of `model` to `owner` started, where there is an owner."""
        if owner is None:
            return
        key = owner, model
        needed, seen = self._models.get(key, (1, 0))
        if not started_inside:
            if not seen:
                return
            needed, seen = (needed * MORE_EVIDENCE if seen >= needed else needed), -1
        if key not in self._models and len(self._models) >= MAX_REMEMBERED:
            del self._models[next(iter(self._models))]
        self._models[key] = (needed, min(seen + 1, needed))
