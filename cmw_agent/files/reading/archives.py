"""Judges ZIP archives by their directory before anything is unpacked, and says which kind of document they are."""

import io
import zipfile

from cmw_agent.files.reading.document import RefusedError, Source

MAX_UNPACKED = 200 * 1024 * 1024
MAX_RATIO = 100
MAX_ENTRIES = 10_000
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
PICTURE_FOLDERS = ("word/media/", "ppt/media/", "xl/media/", "Pictures/")
_LINK = 0o120000
_OFFICE = {
    "word/document.xml": "docx",
    "xl/workbook.xml": "xlsx",
    "ppt/presentation.xml": "pptx",
    "xl/workbook.bin": "xlsb",
}
_IWORK = {"Index/Document.iwa", "Index/Presentation.iwa", "Index.zip"}
_OPEN = {
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/epub+zip": "epub",
}


class Archive:
    """A ZIP archive that may be unpacked.

    Args:
        source: The file.

    Raises:
        RefusedError: It is damaged, locked, or unpacks to too much or to somewhere else.
    """

    def __init__(self, source: Source) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(source.file.read()))
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise RefusedError("damaged") from None
        entries = self._zip.infolist()
        _check(entries, source.size)
        self.names = [entry.filename for entry in entries]

    @property
    def kind(self) -> str:
        """The kind of document, as an ending.

        Raises:
            RefusedError: It is another archive, or a document that is locked.
        """
        names = set(self.names)
        kinds = {kind for name, kind in _OFFICE.items() if name in names}
        if "mimetype" in names:
            declared = self.read("mimetype")[:100].decode("ascii", "replace").strip()
            kinds |= {kind for media_type, kind in _OPEN.items() if _is(declared, media_type)}
        if len(kinds) > 1 or (kinds and len(names) != len(self.names)):
            raise RefusedError("kind")
        if not kinds:
            raise RefusedError("iwork" if _IWORK & names else "archive")
        if self._is_locked(names):
            raise RefusedError("locked")
        return kinds.pop()

    @property
    def pictures(self) -> list[str]:
        """The names of the pictures of a document."""
        return [
            name
            for name in self.names
            if name.startswith(PICTURE_FOLDERS) and name.lower().endswith(PICTURE_ENDINGS)
        ]

    def read(self, name: str) -> bytes:
        """Return an entry, unpacked; at most as much as its directory says."""
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, NotImplementedError, KeyError, EOFError):
            raise RefusedError("damaged") from None

    def _is_locked(self, names: set[str]) -> bool:
        """Whether an OpenDocument or a book says that its parts are encrypted."""
        if "META-INF/manifest.xml" in names and b"encryption-data" in self.read(
            "META-INF/manifest.xml"
        ):
            return True
        # Books may hide their fonts alone, which is no lock.
        if "META-INF/encryption.xml" not in names:
            return False
        hidden = self.read("META-INF/encryption.xml").lower()
        return b"html" in hidden or b".xml" in hidden.replace(b"encryption.xml", b"")


def _is(declared: str, media_type: str) -> bool:
    return declared in (media_type, f"{media_type}-template", f"{media_type}-master")


def _check(entries: list[zipfile.ZipInfo], packed: int) -> None:
    if len(entries) > MAX_ENTRIES:
        raise RefusedError("bomb")
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        is_link = (entry.external_attr >> 16) & 0o170000 == _LINK
        if is_link or ".." in parts or entry.filename.startswith(("/", "\\")):
            raise RefusedError("paths")
        if entry.flag_bits & 1:
            raise RefusedError("locked")
    unpacked = sum(entry.file_size for entry in entries)
    # A small file may expand a hundredfold; a large one that does is a decompression bomb.
    if unpacked > MAX_UNPACKED or (unpacked > 1 << 20 and unpacked > max(1, packed) * MAX_RATIO):
        raise RefusedError("bomb")
