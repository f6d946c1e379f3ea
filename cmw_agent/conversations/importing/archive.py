"""Opens an export file: JSON, JSON Lines, or a ZIP archive that holds such files."""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO

from cmw_agent.conversations.importing.records import UnreadableError

READ_BYTES = 262_144
ZIP_MAGIC, UTF8_MARK = b"PK", b"\xef\xbb\xbf"
MAX_ENTRIES = 100_000
OWN_NAME = "conversations.jsonl"
# ChatGPT splits large exports into numbered files.
CONVERSATIONS = re.compile(r"(?:.*/)?conversations(?:-\d+)?\.json")
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,  # a member is encrypted
    EOFError,
    OSError,
    ValueError,
)


class MissingFileError(Exception):
    """A file is not in the archive, or cannot be read."""


class ExportArchive:
    """The JSON of an export file, and the files in it.

    Args:
        source: The file; it can seek.
        max_bytes: Bytes of all that is read, unpacked.

    Raises:
        UnreadableError: It is a ZIP archive that cannot be opened, or holds no conversations.
    """

    def __init__(self, source: BinaryIO, max_bytes: int) -> None:
        self._source = source
        self._unread_bytes = max_bytes
        self._json_bytes = self._json_read = 0
        self._zip: zipfile.ZipFile | None = None
        self._names: list[str] = []  # of the JSON documents
        self._members: frozenset[str] = frozenset()
        magic = source.read(len(ZIP_MAGIC))
        source.seek(0)
        if magic == ZIP_MAGIC:
            self._open_zip()
        else:
            self._json_bytes = source.seek(0, io.SEEK_END)
            source.seek(0)

    @property
    def share_read(self) -> float:
        """How much of the JSON has been read, from 0 to 1."""
        return min(1.0, self._json_read / self._json_bytes) if self._json_bytes else 1.0

    def documents(self) -> Iterator[Iterator[bytes]]:
        """Yield the JSON documents, each in pieces. Raises UnreadableError while they are read."""
        if self._zip is None:
            yield self._document(self._source)
            return
        for name in self._names:
            try:
                member = self._zip.open(name)
            except ARCHIVE_ERRORS:
                raise UnreadableError("archive") from None
            with member:
                yield self._document(member)

    def has_file(self, path: str) -> bool:
        """Return whether there is a file at a path of the archive."""
        return path in self._members

    def file(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file in the archive.

        Raises:
            MissingFileError: It is not there, or is damaged.
            UnreadableError: More was read than may be.
        """
        if self._zip is None:
            raise MissingFileError
        try:
            with self._zip.open(path) as member:
                yield from self._pieces(member)
        except (KeyError, *ARCHIVE_ERRORS):
            raise MissingFileError from None

    def _document(self, document: IO[bytes]) -> Iterator[bytes]:
        is_first = True
        try:
            for piece in self._pieces(document):
                self._json_read += len(piece)
                yield piece.removeprefix(UTF8_MARK) if is_first else piece
                is_first = False
        except ARCHIVE_ERRORS:
            raise UnreadableError("archive") from None

    def _pieces(self, member: IO[bytes]) -> Iterator[bytes]:
        while piece := member.read(READ_BYTES):
            self._unread_bytes -= len(piece)
            if self._unread_bytes < 0:
                raise UnreadableError("total")
            yield piece

    def _open_zip(self) -> None:
        try:
            self._zip = zipfile.ZipFile(self._source)
            names = self._zip.namelist()
        except ARCHIVE_ERRORS:
            raise UnreadableError("archive") from None
        if len(names) > MAX_ENTRIES:
            raise UnreadableError("entries")
        self._members = frozenset(names)
        own = [name for name in names if name == OWN_NAME]
        listed = own or sorted(name for name in names if CONVERSATIONS.fullmatch(name))
        self._names = listed or [name for name in names if name.endswith(".json")]
        if not self._names:
            raise UnreadableError("shape")
        self._json_bytes = sum(self._zip.getinfo(name).file_size for name in self._names)
