"""What a reader returns, what it may use, and how it refuses."""

import io
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_CHARS = 200_000  # of the text of one file
MAX_PICTURES = 10  # pages or pictures of one document that are shown to models


class RefusedError(Exception):
    """The file is refused; the argument is the reason, a key of `extraction.SENTENCES`."""


@dataclass(slots=True)
class Document:
    """What was read of a file.

    Args:
        media_type: The actual one.
        text: For a model; empty where the file holds none.
        notes: What a user must know of it, as `files.notes` has them.
        pictures: For models that see: JPEG or PNG.
        office: For a file that LibreOffice must convert first: the ending that it has.
    """

    media_type: str
    text: str = ""
    notes: list[str] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    office: str | None = None

    def note(self, code: str, *values: object) -> None:
        """Add a note."""
        self.notes.append(":".join(map(str, (code, *values))))


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    Args:
        file: Its bytes; seekable.
        media_type: As `sniffing.detect` returned it.
        deadline: By `time.monotonic`: what takes long and may be left out ends then.
        is_attached: Whether it is a file within another one.
    """

    file: BinaryIO
    media_type: str
    deadline: float
    is_attached: bool = False

    @property
    def size(self) -> int:
        """Its bytes."""
        position = self.file.tell()
        size = self.file.seek(0, io.SEEK_END)
        self.file.seek(position)
        return size

    @property
    def is_late(self) -> bool:
        """Whether the deadline is over."""
        return time.monotonic() > self.deadline


def joined(paragraphs: Iterable[str]) -> str:
    """Return paragraphs with an empty line between them; empty ones are left out."""
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph.strip())
