"""Builds the content of files for a model, in the form of OpenAI's chat completions."""

import asyncio
import base64
import contextlib
from collections.abc import Sequence
from typing import Any

from cmw_agent.files.storage import FileStore
from memory.records import StoredFile

MAX_PICTURES = 20  # per request to a model


async def content_parts(
    store: FileStore, files: Sequence[StoredFile], chars: int
) -> dict[int, list[dict[str, Any]]]:
    """Return the content parts of files by the sequence number of their messages.

    Args:
        store: Has the pictures of images.
        files: The files of some messages of one owner, oldest first.
        chars: Maximum length of all texts, which the newest files use first; a file for which
            none is left is only named.
    """
    parts: dict[int, list[dict[str, Any]]] = {}
    pictures = 0
    for file in reversed(files):
        part = _text_part(file, chars)
        chars -= len(part["text"])
        with contextlib.suppress(FileNotFoundError):
            if file.kind == "image" and pictures < MAX_PICTURES:
                url = await _data_url(store, file)
                part = {"type": "image_url", "image_url": {"url": url}}
                pictures += 1
        parts.setdefault(file.seq or 0, []).insert(0, part)
    return parts


async def _data_url(store: FileStore, image: StoredFile) -> str:
    picture = await asyncio.to_thread(store.picture(image.file_id).read_bytes)
    media_type = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
    return f"data:{media_type};base64,{base64.b64encode(picture).decode()}"


def _text_part(file: StoredFile, chars: int) -> dict[str, Any]:
    head = f"[File: {file.name}]"
    if file.text is None:
        return {"type": "text", "text": head}
    room = max(0, chars - len(head) - 1)
    text = file.text if len(file.text) <= room else file.text[:room] + "\n[The rest was left out.]"
    return {"type": "text", "text": f"{head}\n{text}"}
