"""Reads files as an upload does, without a server."""

from dataclasses import dataclass
from pathlib import Path

from cmw_agent.files.extraction import Extraction
from cmw_agent.files.notes import sentence_of
from cmw_agent.files.page_pictures import unpacked
from cmw_agent.files.sniffing import HEAD, detect
from tests.harness import settings_for

DOCUMENTS = Path(__file__).parent / "fixtures" / "documents"


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What was read of a file: its media type, its text, its notes as a user reads them, its pictures."""

    media_type: str
    text: str
    note: str
    pictures: list[bytes]


async def read(folder: Path, content: bytes, name: str) -> ReadFile:
    """Return what is read of a file.

    Args:
        folder: For the file and what is made of it.
        content: Its bytes.
        name: Its name.

    Raises:
        FileRefusedError: It is refused.
    """
    file_type = detect(content[:HEAD], name)
    assert file_type is not None, "no kind that is taken"
    source, picture = folder / "source", folder / "picture"
    source.write_bytes(content)
    extraction = Extraction(settings_for(folder, extraction_seconds=200))
    done = await extraction.read(source, file_type.media_type, picture)
    pictures = unpacked(picture.read_bytes()) if picture.exists() else []
    return ReadFile(done.media_type, done.text or "", sentence_of(done.notes) or "", pictures)
