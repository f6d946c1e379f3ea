"""Merges the chunks of a stream: consecutive pieces of text or of thoughts become one chunk."""

from typing import Any

from cmw_agent.llm.chunks import Chunk
from cmw_agent.llm.text_joiner import TextJoiner, clean_text, is_clean

TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "thinking", "reasoning_text")
# Two names of one thing: where both come with the same text, it is given on under the first.
THOUGHTS = frozenset({"reasoning_content", "reasoning"})
DETAILS = "reasoning_details"  # OpenRouter's, beside `reasoning`
MAX_CALLS = 64  # whose split characters are joined
# Fields of a chunk that say nothing of the answer; `obfuscation` and `p` are padding.
ENVELOPE = frozenset(
    {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier"}
    | {"provider", "obfuscation", "p"}
)


class Merger:
    """Merges consecutive deltas of text; other chunks pass through in order.

    Chunks that carry nothing are dropped. Texts come out clean: characters that were split over
    deltas are joined, and lone surrogates become U+FFFD.

    Attributes:
        has_begun: A part of the answer has been returned: text, thoughts, a tool call or the like.
        finished: A chunk with a finish reason has been seen.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.finished = False
        self._joiners: dict[str, TextJoiner] = {}  # of the fields that were not clean so far
        self._call_joiners: dict[Any, TextJoiner] = {}

    def merge(self, chunks: list[Chunk]) -> list[Chunk]:
        """Return `chunks` with consecutive texts of one field merged into one chunk."""
        if len(chunks) == 1 and self._is_merged(chunks[0]):
            self.has_begun = True
            return chunks
        merged: list[Chunk] = []
        field, texts, last = "", list[str](), None
        extras: dict[str, Any] = {}
        for chunk in chunks:
            found = text_in(chunk)
            if last is not None and (found is None or (found[1] and found[0] != field)):
                self._end_run(merged, field, texts, {**last, **extras} if extras else last)
                field, texts, last, extras = "", [], None, {}
            if found is None:
                self._pass(merged, chunk)
            elif found[1]:
                field, last = found[0], chunk
                texts.append(found[1])
                if further := extras_of(chunk):
                    extras.update(further)
        if last is not None:
            self._end_run(merged, field, texts, {**last, **extras} if extras else last)
        return merged

    def _is_merged(self, chunk: Chunk) -> bool:
        """Return whether a chunk is a run of text to which nothing needs to be done, as most are."""
        choices = chunk["choices"]
        if self._joiners or len(chunk) > 1 or not choices:
            return False
        delta = choices[0]["delta"]
        text = delta.get("content")
        return (
            type(text) is str
            and text != ""
            and (len(delta) == 1 or (len(delta) == 2 and "role" in delta))
            and not choices[0].get("finish_reason")
            and is_clean(text)
        )

    def end(self) -> list[Chunk]:
        """Return what is held back of characters whose other half did not come."""
        held = [(field, joiner.end()) for field, joiner in self._joiners.items()]
        base: Chunk = {"choices": [{"index": 0}]}
        return [with_text(base, field, text) for field, text in held if text]

    def _end_run(self, merged: list[Chunk], field: str, texts: list[str], last: Chunk) -> None:
        whole = texts[0] if len(texts) == 1 else "".join(texts)
        text = self._add(field, whole)
        if text or extras_of(last):
            self.has_begun = True
            delta = last["choices"][0]["delta"]
            is_plain = text is delta.get(field) and delta.keys() <= {"role", field}
            merged.append(last if is_plain else with_text(last, field, text))

    def _pass(self, merged: list[Chunk], chunk: Chunk) -> None:
        delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
        finishes = bool(chunk["choices"]) and bool(chunk["choices"][0].get("finish_reason"))
        for field in TEXT_FIELDS if delta else ():
            text = delta.get(field)
            if isinstance(text, str) and text:
                joined = self._join(field, text, is_last=finishes)
                if joined != text:
                    delta = {**delta, field: joined}
                    chunk = _with_delta(chunk, delta)
        if delta.get("tool_calls") or delta.get("function_call"):
            delta = self._with_clean_calls(delta)
            chunk = _with_delta(chunk, delta)
        if not self.has_begun:
            self.has_begun = any(value for key, value in delta.items() if key != "role")
        if finishes:
            self.finished = True
            merged += self.end()
        both = _joined_details(merged[-1], chunk) if merged and DETAILS in delta else None
        if both is None:
            merged.append(chunk)
        else:
            merged[-1] = both

    def _join(self, field: str, text: str, *, is_last: bool) -> str:
        joined = self._add(field, text)
        return joined + self._joiners[field].end() if is_last and field in self._joiners else joined

    def _add(self, field: str, text: str) -> str:
        """Return the clean text that `text` completes in a field."""
        if field not in self._joiners:
            if is_clean(text):
                return text
            self._joiners[field] = TextJoiner()
        return self._joiners[field].add(text)

    def _with_clean_calls(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a delta whose calls have clean arguments, as the texts are clean."""
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            return {**delta, "tool_calls": [self._clean_call(call) for call in calls]}
        if isinstance(function := delta.get("function_call"), dict):
            return {**delta, "function_call": self._clean_call({"function": function})["function"]}
        return delta

    def _clean_call(self, call: Any) -> Any:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return call
        index, arguments = str(call.get("index")), function.get("arguments")
        joiner = self._call_joiners.get(index)
        if not isinstance(arguments, str) or (joiner is None and is_clean(arguments)):
            return call
        if joiner is None and len(self._call_joiners) < MAX_CALLS:
            joiner = self._call_joiners[index] = TextJoiner()
        joined = joiner.add(arguments) if joiner is not None else clean_text(arguments)
        return {**call, "function": {**function, "arguments": joined}}


def text_in(chunk: Chunk) -> tuple[str, str] | None:
    """Return field and text of a chunk that has nothing else; None for one that has more.

    Both are empty where the chunk carries nothing.
    """
    choices = chunk["choices"]
    field = text = ""
    if choices:
        choice = choices[0]
        if choice.get("finish_reason"):
            return None
        for key, value in choice["delta"].items():
            if not value or key == "role":
                continue
            if key not in TEXT_FIELDS or type(value) is not str:
                return None
            if text and not (value == text and {field, key} == THOUGHTS):
                return None
            field, text = ("reasoning_content" if text else key), value
    if text or not extras_of(chunk):
        return field, text
    return None


def extras_of(chunk: Chunk) -> dict[str, Any]:
    """Return the fields of a chunk beside its choices that say something, such as its usage."""
    return {key: value for key, value in chunk.items() if value and key not in ENVELOPE}


def with_text(chunk: Chunk, field: str, text: str, *, keep: bool = False) -> Chunk:
    """Return `chunk` with a delta of this text; with `keep` all else of it is kept."""
    first = chunk["choices"][0]
    rest = first["delta"] if keep else {"role": "assistant"}
    choice = {**first, "delta": {**rest, field: text}}
    return {**chunk, "choices": [choice, *chunk["choices"][1:]] if keep else [choice]}


def _with_delta(chunk: Chunk, delta: dict[str, Any]) -> Chunk:
    return {**chunk, "choices": [{**chunk["choices"][0], "delta": delta}, *chunk["choices"][1:]]}


def _joined_details(earlier: Chunk, further: Chunk) -> Chunk | None:
    """Return two chunks of thoughts with details as one; None where they are something else."""
    deltas = [_details_in(chunk) for chunk in (earlier, further)]
    if deltas[0] is None or deltas[1] is None:
        return None
    first, second = deltas[0], deltas[1]
    joined: dict[str, Any] = {**first, **second}
    for field in (*THOUGHTS, DETAILS):
        if first.get(field) and second.get(field):
            joined[field] = first[field] + second[field]
        elif first.get(field):
            joined[field] = first[field]
    return _with_delta({**earlier, **further}, joined)


def _details_in(chunk: Chunk) -> dict[str, Any] | None:
    """Return the delta of a chunk that has thoughts with details and nothing else."""
    choices = chunk["choices"]
    if len(choices) != 1 or choices[0].get("finish_reason") or extras_of(chunk):
        return None
    delta: dict[str, Any] = choices[0]["delta"]
    if not isinstance(delta.get(DETAILS), list):
        return None
    names = {key for key, value in delta.items() if value and key != "role"}
    has_texts = all(isinstance(delta.get(name) or "", str) for name in THOUGHTS)
    return delta if has_texts and names <= {*THOUGHTS, DETAILS} else None
