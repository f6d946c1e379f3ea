"""Builds the content of files for a model, in the form of OpenAI's chat completions."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

from cmw_agent.config.settings import Settings
from cmw_agent.files.notes import sentence_of
from cmw_agent.files.page_pictures import unpacked
from cmw_agent.files.storage import FileStore
from cmw_agent.language import wording
from memory.records import StoredFile

CHARS_PER_TOKEN = 4
MAX_PICTURES = 20  # per request to a model
LEFT_OUT = "\n[The rest was left out.]"


class Contents(dict[int, list[dict[str, Any]]]):
    """Content parts by the sequence number of the message.

    Attributes:
        left_out: Sentences for the user on what a model is not given of files, beyond what stands
            at each of them.
        file_ids: Which files they are of, oldest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[str] = []
        self.file_ids: list[str] = []


def window_chars(settings: Settings) -> int:
    """Return the maximum length of all texts of files that a model is given at once."""
    return settings.history_tokens * CHARS_PER_TOKEN


async def contents_of(store: FileStore, files: Sequence[StoredFile], chars: int) -> Contents:
    """Return the content of files.

    Args:
        store: Has the pictures of images.
        files: The files of some messages of one owner, oldest first.
        chars: Maximum length of all texts, which the newest files use first; a file for which
            none is left is only named.
    """
    contents, allowed, room = Contents(), chars, MAX_PICTURES
    contents.file_ids.extend(file.file_id for file in files)
    for file in reversed(files):
        text = file.text or ""
        given = text[: max(0, chars)]
        chars -= len(given)
        pictures = await _pictures(store, file)
        shown = [_picture_part(picture) for picture in pictures[:room]]
        room -= len(shown)
        if len(given) < min(len(text), allowed):
            contents.left_out.append(_not_given(file, len(given)))
        if len(shown) < len(pictures):
            contents.left_out.append(_not_shown(file, len(shown), len(pictures)))
        parts = [_text_part(file, given), *shown] if file.kind != "image" or not shown else shown
        contents[file.seq or 0] = parts + contents.get(file.seq or 0, [])
    contents.left_out.reverse()
    return contents


async def _pictures(store: FileStore, file: StoredFile) -> list[bytes]:
    if file.kind == "audio":
        return []
    try:
        return await asyncio.to_thread(lambda: unpacked(store.picture(file.file_id).read_bytes()))
    except FileNotFoundError:
        return []


def _picture_part(picture: bytes) -> dict[str, Any]:
    media_type = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
    url = f"data:{media_type};base64,{base64.b64encode(picture).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _text_part(file: StoredFile, given: str) -> dict[str, Any]:
    lines = [f"[File: {file.name}]"]
    if (note := sentence_of(file.notes)) is not None:
        lines.append(f"[{note}]")
    if given:
        lines.append(given)
    text = "\n".join(lines)
    return {"type": "text", "text": text + LEFT_OUT if len(given) < len(file.text or "") else text}


def _not_given(file: StoredFile, chars: int) -> str:
    if not chars:
        return wording(
            "{name} was left out of what the model reads: other files take all the room.",
            name=file.name,
        )
    return wording(
        "Of {name} the model read only the first {chars} characters: other files take the rest of "
        "the room.",
        name=file.name,
        chars=chars,
    )


def _not_shown(file: StoredFile, shown: int, pictures: int) -> str:
    return wording(
        "Of {name} the model was shown {shown} of {pictures} pictures: it takes no more at once.",
        name=file.name,
        shown=shown,
        pictures=pictures,
    )
