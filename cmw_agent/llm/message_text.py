"""The content of one message while it streams: emits its text, thoughts and pictures in order."""

from collections.abc import Iterable, Mapping
from typing import Any

from cmw_agent.core.errors import ModelFailedError
from cmw_agent.core.events import PictureReceived
from cmw_agent.llm.content_scanner import ContentScanner, Item
from cmw_agent.llm.pictures import PictureReader, is_picture
from cmw_agent.llm.run_events import RunEvents
from cmw_agent.llm.text_calls import Schemas, parse_calls, whole_call
from cmw_agent.llm.thinking import TOO_LARGE, thought_text
from cmw_agent.llm.tool_calls import ToolCalls

MAX_TEXT = 16_777_216  # characters of text and thoughts of one message
MAX_CONTENT = 33_554_432  # characters of all content, pictures among it


class MessageText:
    """Sorts the content of one message into answer, thoughts, calls and pictures.

    Args:
        events: Receives text, thoughts and pictures as they arrive.
        calls: Takes the calls that the model writes as text.
        schemas: Parameters of the tools that the model was offered, by name.
        text_calls: Whether calls that are written as text are calls.
        in_thoughts: Whether the message is expected to start with thoughts that no tag opens.

    Attributes:
        thoughts: The thoughts so far, in pieces.
        has_pictures: A picture has come.
        wrote_calls: A call was written as text and left out.
        started_inside: Whether the message started with thoughts that no tag opened; None where
            its content does not tell.
    """

    def __init__(
        self,
        events: RunEvents,
        calls: ToolCalls,
        schemas: Schemas,
        *,
        text_calls: bool = False,
        in_thoughts: bool = False,
    ) -> None:
        self._events = events
        self._calls = calls
        self._schemas = schemas
        self._text_calls = text_calls
        self._scanner = ContentScanner(in_thoughts=in_thoughts, holds_json=text_calls)
        self._pictures = PictureReader()
        self._texts: list[str] = []
        self._unscanned: set[int] = set()  # places in `_texts` of what the scanner has not seen
        self._implied: list[str] = []  # thoughts that may turn out to be the answer
        self._size = self._read = 0
        self._expected = in_thoughts
        self.thoughts: list[str] = []
        self.has_pictures = self.wrote_calls = False
        self.started_inside: bool | None = None

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return "".join(self._texts)

    def add(self, text: str) -> None:
        """Add text in which tags and pictures may stand.

        Raises:
            ModelFailedError: The message is too large.
        """
        self._read += len(text)
        if self._read > MAX_CONTENT:
            raise ModelFailedError(TOO_LARGE, kind="too_large")
        if self._scanner.passes(text):
            self._add_text(text)
        else:
            self._apply(self._scanner.feed(text))

    def add_parts(self, parts: Iterable[Any]) -> None:
        """Add a list of content parts.

        Raises:
            ModelFailedError: The message is too large.
        """
        for part in parts:
            if isinstance(part, str):
                self.add(part)
            elif isinstance(part, Mapping):
                self._add_part(part)

    def _add_part(self, part: Mapping[str, Any]) -> None:
        kind = part.get("type")
        if kind in ("thinking", "reasoning", "redacted_thinking"):
            self.add_thought(thought_text(part))
        elif is_picture(part):
            self.add_picture(part)
        elif kind == "refusal":
            self.add_plain(str(part.get("refusal") or ""))
        else:
            text = part.get("text") or part.get("content")
            if isinstance(text, Mapping):
                text = text.get("value")
            if isinstance(text, str):
                self.add(text)

    def add_plain(self, text: str) -> None:
        """Add text that is shown as it is."""
        if text:
            self._unscanned.add(len(self._texts))
            self._add_text(text)

    def _add_text(self, text: str) -> None:
        self._grow(text)
        self._texts.append(text)
        self._events.emit_text(text)

    def add_thought(self, text: str) -> None:
        """Add thoughts.

        Raises:
            ModelFailedError: The message is too large.
        """
        if text:
            self._grow(text)
            self._scanner.had_thoughts = True
            self.thoughts.append(text)
            self._events.emit_thinking(text)

    def add_picture(self, item: Any) -> None:
        """Add a picture in one of the forms in which servers send it."""
        self._show(self._pictures.read(item))

    def _show(self, picture: PictureReceived | str) -> None:
        if isinstance(picture, str):
            self.add_plain(f"\n\n{picture}\n\n" if picture and self._texts else picture)
        else:
            self.has_pictures = True
            self._events.emit(picture)

    def finish(self, *, was_cut: bool) -> None:
        """Deal with what was held back: the message has ended.

        Args:
            was_cut: Whether it was cut at its limit.
        """
        scanner = self._scanner
        self._apply(scanner.finish())
        if scanner.closed_unopened or (self._expected and not scanner.implied):
            self.started_inside = True
        elif self._texts or self._implied:
            self.started_inside = False
        if scanner.implied and not was_cut and not self._calls:
            answer, self._implied = "".join(self._implied), []
            rest = ContentScanner(holds_json=self._text_calls)
            self._apply([*rest.feed(answer), *rest.finish()])

    def rest(self) -> str:
        """Return the text that is held back of a message that broke off.

        Thoughts that are held back are emitted; the beginning of a call or picture is dropped.
        """
        items = self._scanner.finish()
        for item in items:
            if item.kind == "thought":
                self.thoughts.append(item.value)
                self._events.emit_thinking(item.value)
            elif item.kind == "retract":
                self._retract(item.length)
        return "".join(item.value for item in items if item.kind in ("text", "whole"))

    def _apply(self, items: list[Item]) -> None:
        for item in items if len(items) < 2 else _joined(items):
            match item.kind:
                case "text":
                    self._add_text(item.value)
                case "thought":
                    self._take_thought(item.value)
                case "retract":
                    self._retract(item.length)
                case "call":
                    self._take_call(item.value)
                case "picture":
                    self._show(self._pictures.decode(item.media_type, item.value))
                case "whole":
                    self._take_whole(item.value)

    def _take_thought(self, text: str) -> None:
        self._grow(text)
        if self._expected:
            self._implied.append(text)
        self.thoughts.append(text)
        self._events.emit_thinking(text)

    def _take_call(self, markup: str) -> None:
        if not self._text_calls:
            self.wrote_calls = True
            return
        for name, arguments in parse_calls(markup, self._schemas):
            self._calls.add_call(name, arguments)

    def _take_whole(self, text: str) -> None:
        call = whole_call(text, self._schemas)
        if call is not None:
            self._calls.add_call(*call)
            return
        rest = ContentScanner()
        self._apply([*rest.feed(text), *rest.finish()])

    def _retract(self, length: int) -> None:
        """Make thoughts of the scanner's last `length` characters, and of what came among them."""
        taken: list[str] = []
        left = length
        while left > 0 and self._texts:
            piece = self._texts.pop()
            if len(self._texts) in self._unscanned:
                self._unscanned.remove(len(self._texts))
            else:
                if len(piece) > left:
                    self._texts.append(piece[: len(piece) - left])
                    piece = piece[len(piece) - left :]
                left -= len(piece)
            taken.append(piece)
        self.thoughts += reversed(taken)
        self._events.retract_text(sum(map(len, taken)))

    def _grow(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise ModelFailedError(TOO_LARGE, kind="too_large")


def _joined(items: list[Item]) -> list[Item]:
    """Return the items with neighbouring texts, or thoughts, in one."""
    joined: list[Item] = []
    pieces: list[str] = []
    for index, item in enumerate(items):
        following = items[index + 1].kind if index + 1 < len(items) else None
        if item.kind not in ("text", "thought"):
            joined.append(item)
            continue
        pieces.append(item.value)
        if following != item.kind:
            joined.append(Item(item.kind, "".join(pieces)))
            pieces = []
    return joined
