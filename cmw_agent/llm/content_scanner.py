"""Splits an answer's text, as it streams, into answer, thoughts, calls and pictures."""

import re
from enum import Enum
from typing import Literal, NamedTuple

from cmw_agent.llm.markup import (
    CALL_ENDS,
    CALLS,
    CLOSES,
    CLOSES_UNOPENED,
    IN_TEXT,
    LONGEST,
    MAX_TITLE,
    OPENS,
    PICTURE_ENDS,
    PICTURE_TITLE,
    THOUGHTS,
    hold_from,
)
from cmw_agent.llm.message_end import is_blank

ItemKind = Literal["text", "thought", "retract", "call", "picture", "whole"]
FENCE_PREFIX = " \t>*+-0123456789.)"  # what may stand before a fence in its line
FENCE, MIN_FENCE = "```", 3
MAX_EXAMPLE = 200  # characters of data in text about pictures; what is longer is a picture


class Item(NamedTuple):
    """A part of an answer.

    Attributes:
        kind: ``retract`` says that the last `length` characters of text were thoughts; ``whole``
            is a message that may be nothing but a call.
        value: Its text; a picture's base64 data.
        length: Of ``retract``.
        media_type: Of ``picture``.
    """

    kind: ItemKind
    value: str = ""
    length: int = 0
    media_type: str = ""


class _Mode(Enum):
    TEXT = 1
    THOUGHTS = 2
    CALL = 3
    PICTURE = 4
    WHOLE = 5


class ContentScanner:
    """Scans the text of one message, cut anywhere; each character is looked at once.

    Tags count at the start of a line and outside code. Thoughts whose opening tag stands in the
    middle of a line are known by their closing tag alone.

    Args:
        in_thoughts: Whether the message starts with thoughts that no tag opens.
        holds_json: Whether text that begins like a JSON object, or like one in a code block, is
            held back to the message's end, since it may be a call.

    Attributes:
        had_thoughts: A tag of thoughts has been seen.
        implied: The message is inside thoughts that no tag has opened.
        closed_unopened: The message's first text was thoughts that no tag has opened.
    """

    def __init__(self, *, in_thoughts: bool = False, holds_json: bool = False) -> None:
        self.had_thoughts = False
        self.implied = in_thoughts
        self.closed_unopened = False
        self._mode = _Mode.THOUGHTS if in_thoughts else _Mode.TEXT
        self._may_hold = self._holds_json = holds_json  # at all, and the text that comes next
        self._items: list[Item] = []
        self._buffer, self._at = "", 0
        self._space: list[str] | None = []  # white space at the start, which waits for text
        self._drops_blank = False
        self._held: list[str] = []  # of a call or picture
        self._head = ""  # of a picture
        self._close: re.Pattern[str] | None = CLOSES_UNOPENED
        self._media_type = ""
        self._emitted = 0  # characters of text
        self._open_at: int | None = None  # value of `_emitted` at an opening tag amid a line
        self._is_fresh = True  # no thought has come since the tag
        self._line_blank = self._fence_prefix = True
        self._fence, self._fence_line, self._inline = "", False, 0
        self._after_tick = False

    def passes(self, text: str) -> bool:
        """Take `text` in if all of it is certain to be text of the answer; return whether it is.

        Nearly all text of most answers passes here; other text must be given to `feed`.
        """
        if (
            not text
            or self._space is not None
            or self._mode is not _Mode.TEXT
            or self._buffer
            or not self._is_plain(text)
        ):
            return False
        self._follow(text)
        self._emitted += len(text)
        return True

    def feed(self, text: str) -> list[Item]:
        """Return the parts that `text` makes certain."""
        if self._mode is _Mode.TEXT and not self._buffer and self._is_plain(text):
            self._add_text(text)
        else:
            self._buffer += text
            self._scan(final=False)
        items, self._items = self._items, []
        return items

    def finish(self) -> list[Item]:
        """Return the rest of the message, which has ended."""
        if self._buffer or self._mode is not _Mode.TEXT:
            self._scan(final=True)
        if self._mode is _Mode.CALL:
            self._items.append(Item("call", "".join(self._held)))
        elif self._mode is _Mode.WHOLE:
            whole = self._after_space("".join(self._held), self._space or [])
            self._items.append(Item("whole", whole))
        elif self._mode is _Mode.PICTURE:
            self._items.append(Item("picture", media_type=self._media_type))  # it was cut
        self._held = []
        items, self._items = self._items, []
        return items

    def _is_plain(self, text: str) -> bool:
        return not (
            self._holds_json
            or "<" in text
            or "`" in text
            or "[" in text
            or "~" in text
            or "◁" in text
            or text.endswith("!")
        )

    def _scan(self, *, final: bool) -> None:
        while self._scan_mode(final):
            pass
        self._buffer, self._at = self._buffer[self._at :], 0

    def _scan_mode(self, final: bool) -> bool:
        # No dictionary: the hash of an enumeration's member is a call of Python.
        match self._mode:
            case _Mode.TEXT:
                return self._scan_text(final)
            case _Mode.THOUGHTS:
                return self._scan_thoughts(final)
            case _Mode.CALL:
                return self._scan_call(final)
            case _Mode.PICTURE:
                return self._scan_picture(final)
            case _Mode.WHOLE:
                return self._scan_whole(final)

    # Each returns whether the rest of the buffer is to be scanned anew, mostly in another mode.

    def _scan_text(self, final: bool) -> bool:
        if self._holds_json:
            rest = self._buffer[self._at :]
            text = rest.lstrip()
            self._add_text(rest[: len(rest) - len(text)])
            self._at = len(self._buffer) - len(text)
            is_call = _may_be_call(text)
            if is_call is None and not final:
                return False
            self._holds_json = False
            if is_call:
                self._mode = _Mode.WHOLE
                return True
        buffer = self._buffer
        while (token := IN_TEXT.search(buffer, self._at)) is not None:
            self._add_text(buffer[self._at : token.start()])
            self._at = token.start()
            kind = token.lastgroup
            if token.end() == len(buffer) and kind in ("ticks", "close") and not final:
                return False  # the next character decides
            self._at = token.end()
            if kind == "ticks":
                self._add_ticks(token[0], buffer[token.end() : token.end() + 1])
            elif self._fence or (self._inline and kind != "close"):
                self._add_text(token[0])
            elif self._take(token):
                return True
        end = len(buffer) if final else hold_from(buffer, self._at)
        self._add_text(buffer[self._at : end])
        self._at = end
        return False

    def _take(self, token: re.Match[str]) -> bool:
        """Deal with a token outside code; return whether what follows is to be scanned anew."""
        name = token[0]
        match token.lastgroup:
            case "open":
                return self._take_open(name)
            case "close":
                following = token.string[token.end() : token.end() + 1]
                self._take_close(name, is_quoted=self._after_tick or following == "`")
                return self._holds_json
            case "call" if self._line_blank:
                self._mode, self._held = _Mode.CALL, [name]
                self._close = CALL_ENDS.get(_canonical(name))
                return True
            case "around" if self._line_blank or self.had_thoughts:
                pass
            case "picture":
                self._mode, self._held, self._media_type = _Mode.PICTURE, [], token["media"]
                self._head = name
                return True
            case _:
                self._add_text(name)
        return False

    def _take_open(self, name: str) -> bool:
        if not self._line_blank:
            if self._open_at is None:
                self._open_at = self._emitted
            self._add_text(name)
            return False
        self._close = CLOSES[_canonical(name)]
        self._mode, self._is_fresh, self.had_thoughts = _Mode.THOUGHTS, True, True
        return True

    def _take_close(self, name: str, *, is_quoted: bool) -> None:
        if is_quoted:
            self._add_text(name)
            return
        if self._open_at is not None or not self.had_thoughts:
            self.closed_unopened = self._open_at is None and self._emitted > 0
            length = self._emitted - (self._open_at or 0)
            if length:
                self._items.append(Item("retract", length=length))
            self._emitted -= length
        self.had_thoughts, self._open_at = True, None
        self._begin_text()

    def _begin_text(self) -> None:
        """Go on with text after thoughts or a call, whose blank lines are dropped."""
        self._mode, self._inline, self._after_tick = _Mode.TEXT, 0, False
        self._line_blank = self._fence_prefix = True
        if not self._emitted:
            self._space, self._drops_blank = [], True
            self._holds_json = self._may_hold

    def _scan_thoughts(self, final: bool) -> bool:
        buffer, pattern = self._buffer, self._close
        if self.implied and self._is_fresh and self._skip_opening(final):
            return self._mode is _Mode.THOUGHTS and not self.implied
        while pattern is not None and (token := pattern.search(buffer, self._at)) is not None:
            if token.end() == len(buffer) and not final:
                end = max(self._at, token.start() - 1)
                self._add_thought(buffer[self._at : end])
                self._at = end
                return False
            around = (
                buffer[max(0, token.start() - 1) : token.start()]
                + buffer[token.end() : token.end() + 1]
            )
            is_quoted = "`" in around
            self._add_thought(buffer[self._at : token.end() if is_quoted else token.start()])
            self._at = token.end()
            if not is_quoted:
                self.implied, self.had_thoughts = False, True
                self._begin_text()
                return True
        # One character more stays, which may be the backtick before a tag.
        end = len(buffer) if final else max(self._at, hold_from(buffer, self._at) - 1)
        self._add_thought(buffer[self._at : end])
        self._at = end
        return False

    def _skip_opening(self, final: bool) -> bool:
        """Drop the opening tag of thoughts that were thought to need none.

        Returns whether there is nothing else to do for now.
        """
        rest = self._buffer[self._at :].lstrip()
        start = len(self._buffer) - len(rest)
        if (token := OPENS.match(self._buffer, start)) is not None:
            self._at = token.end()
            self.implied, self.had_thoughts = False, True
            self._close = CLOSES[_canonical(token[0])]
            return True
        return not final and (not rest or hold_from(rest[:LONGEST], 0) == 0)

    def _scan_call(self, final: bool) -> bool:
        buffer, pattern = self._buffer, self._close
        token = pattern.search(buffer, self._at) if pattern is not None else None
        if token is not None:
            self._held.append(buffer[self._at : token.end()])
            self._items.append(Item("call", "".join(self._held)))
            self._held, self._at = [], token.end()
            self._begin_text()
            return True
        return self._hold_more(final)

    def _scan_whole(self, final: bool) -> bool:
        self._held.append(self._buffer[self._at :])
        self._at = len(self._buffer)
        return False

    def _scan_picture(self, final: bool) -> bool:
        end = PICTURE_ENDS.search(self._buffer, self._at)
        if end is None:
            return self._hold_more(final)
        self._held.append(self._buffer[self._at : end.start()])
        self._at = end.start()
        title = PICTURE_TITLE.match(self._buffer, self._at)
        waits = end[0] == '"' and not final and len(self._buffer) < self._at + MAX_TITLE
        if title is None and waits:
            return False
        data = "".join(self._held)
        self._held, self._mode = [], _Mode.TEXT
        if title is not None:
            self._at = title.end()
            self._items.append(Item("picture", data, media_type=self._media_type))
        elif len(data) < MAX_EXAMPLE:
            self._add_text(self._head + data)
        else:
            # A picture without an end takes none of the text after it along.
            self._items.append(Item("picture", media_type=self._media_type))
        return True

    def _hold_more(self, final: bool) -> bool:
        """Hold the rest of the buffer, except what may begin the end of a call or picture."""
        end = len(self._buffer) if final else max(self._at, len(self._buffer) - LONGEST)
        self._held.append(self._buffer[self._at : end])
        self._at = end
        return False

    def _add_ticks(self, run: str, following: str) -> None:
        starts_line, is_tick = self._fence_prefix, run[0] == "`"
        if self._fence:
            is_same = run[0] == self._fence[0] and len(run) >= len(self._fence)
            if (self._fence_line and is_tick) or (
                starts_line and is_same and not following.strip()
            ):
                self._fence = ""
        elif starts_line and len(run) >= MIN_FENCE:
            self._fence, self._fence_line = run, True
        elif is_tick and self._inline in (0, len(run)):
            self._inline = 0 if self._inline else len(run)
        self._add_text(run)
        self._after_tick = is_tick

    def _add_text(self, text: str) -> None:
        if not text:
            return
        self._follow(text)
        if self._space is not None:
            text = self._after_space(text, self._space)
        if text:
            self._emitted += len(text)
            self._items.append(Item("text", text))

    def _follow(self, text: str) -> None:
        """Note how the line goes on with `text`."""
        self._after_tick = False
        newline = text.rfind("\n")
        if newline >= 0:
            self._inline, self._fence_line = 0, False
            line = text[newline + 1 :]
            self._line_blank = not line or line.isspace()
            self._fence_prefix = not line.strip(FENCE_PREFIX)
        elif self._fence_prefix:
            self._line_blank = self._line_blank and text.isspace()
            self._fence_prefix = not text.strip(FENCE_PREFIX)

    def _after_space(self, text: str, space: list[str]) -> str:
        """Return `text` with the white space that waited for it; nothing while it is blank."""
        if is_blank(text):
            space.append(text)
            return ""
        text = "".join([*space, text])
        if self._drops_blank:
            start = len(text) - len(text.lstrip())
            line = text.rfind("\n", 0, start) + 1
            text = text[line or start :]  # white space is indentation at a line's start alone
        self._space = None
        return text

    def _add_thought(self, text: str) -> None:
        if self._is_fresh:
            text = text.lstrip()
        if text:
            self._is_fresh = False
            self._items.append(Item("thought", text))


def _may_be_call(text: str) -> bool | None:
    """Return whether `text` begins like a JSON object; None where its next characters decide."""
    if text.startswith(FENCE):
        text = text.removeprefix(FENCE)
        if "json".startswith(text):
            return None
        text = text.removeprefix("json").lstrip()
    elif FENCE.startswith(text):
        return None
    return text.startswith("{") if text else None


def _canonical(name: str) -> str:
    """Return the known tag that differs from `name` in case alone, and in attributes."""
    head, *attributes = name.lower().split(maxsplit=1)
    lower = f"{head}>" if attributes else head
    return next(known for known in (*THOUGHTS, *CALLS) if known.lower() == lower)
