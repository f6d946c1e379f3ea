"""Records the turns of a process into a folder: a file for each turn, in a folder of its owner's."""

import asyncio
import hashlib
import importlib.metadata
import itertools
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from cmw_agent.core.errors import describe_exception
from cmw_agent.core.logs import get_logger
from cmw_agent.recording.cassette_file import SUFFIX, encode, make_folder, write
from cmw_agent.recording.redaction import Redaction
from cmw_agent.recording.tape import TurnTape
from memory.receipts import digest

log = get_logger(__name__)

PACKAGES = ("langchain-core", "langchain-openai", "langgraph", "aiohttp", "orjson")
DAY = 86_400.0


class Recorder:
    """Writes cassettes; it holds nothing of any user between turns.

    Args:
        folder: Where cassettes are.
        max_bytes: Of one turn's records, about.
        redact: What is replaced before it is written; None for nothing.
        facts: What the header of each cassette says of the process, such as its settings.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, redact: str | None, facts: Mapping[str, Any]
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._redaction = Redaction(re.compile(redact)) if redact is not None else None
        self._next_seq = partial(next, itertools.count(1))
        self._facts = {
            **facts,
            "process": secrets.token_hex(8),
            "packages": {name: _version(name) for name in PACKAGES},
            "redacted": redact is not None,
        }

    def turn(self, owner: str) -> TurnTape:
        """Return a tape for a turn of an owner's.

        Raises:
            ValueError: The owner is empty.
        """
        return TurnTape(owner, self._next_seq, self._max_bytes)

    async def save(
        self, tape: TurnTape, conversation: str, turn: str, header: Mapping[str, Any]
    ) -> Path | None:
        """Write a turn's cassette; return its file, None where it could not be written.

        A failure is logged and stops nobody's answer.

        Args:
            tape: What was recorded.
            conversation: The id of the conversation.
            turn: The turn's id.
            header: What the first line says of the turn.
        """
        if tape.left_out:
            tape.add("cut", left_out=tape.left_out)
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S}-{digest(turn)[:16]}{SUFFIX}"
        path = self._folder_of(tape.owner, conversation) / name
        whole = {
            **self._facts,
            "at": now.isoformat(timespec="seconds"),
            "owner": digest(tape.owner),
            "conversation": conversation,
            "turn": turn,
            **header,
        }
        try:
            await asyncio.to_thread(self._write, path, whole, tape)
        except Exception as error:  # noqa: BLE001 (the turn must be stored all the same)
            log.warning("a turn was not recorded", cause=describe_exception(error))
            return None
        return path

    async def drop(self, path: Path) -> None:
        """Delete one cassette, of a turn that was not stored."""
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def forget(self, owner: str, conversation: str | None = None) -> None:
        """Delete the cassettes of an owner, or of one conversation of theirs.

        Raises:
            OSError: Some could not be deleted.
        """
        await asyncio.to_thread(_remove, self._folder_of(owner, conversation))

    async def hand_over(self, owner: str, from_owner: str) -> None:
        """Make the cassettes of `from_owner` an owner's, whose the conversations are from now on.

        Raises:
            OSError: Some could not be moved.
        """
        await asyncio.to_thread(_move, self._folder_of(from_owner), self._folder_of(owner))

    async def sweep(self, days: float) -> int:
        """Delete the cassettes that are older than so many days; return how many. 0 keeps all."""
        return await asyncio.to_thread(sweep, self._folder, days)

    def _write(self, path: Path, header: Mapping[str, Any], tape: TurnTape) -> None:
        write(path, encode(header, tape.records, self._redaction))

    def _folder_of(self, owner: str, conversation: str | None = None) -> Path:
        folder = self._folder / digest(owner)
        return folder if conversation is None else folder / digest(conversation)[:32]


def git_hash(path: Path) -> str | None:
    """Return the hash by which git names a file's content; None where there is no such file."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head = b"blob %d\0" % len(content)
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def sweep(folder: Path, days: float, *, dry_run: bool = False) -> int:
    """Delete the cassettes in a folder that are older than so many days; return how many.

    Args:
        folder: Where cassettes are.
        days: 0 keeps all.
        dry_run: Only count them.
    """
    before = time.time() - days * DAY
    found = folder.glob(f"*/*/*{SUFFIX}") if days else ()
    old = [path for path in found if path.stat().st_mtime < before]
    for path in old if not dry_run else ():
        path.unlink(missing_ok=True)
    return len(old)


def _move(source: Path, target: Path) -> None:
    if not source.is_dir():
        return
    make_folder(target)
    for folder in source.iterdir():
        folder.rename(target / folder.name)
    source.rmdir()
