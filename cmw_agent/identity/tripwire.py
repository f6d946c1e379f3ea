"""The tripwire: stops texts and files that hold another owner's canary, before anybody gets them.

Each owner's canary stands at the end of the instructions that their model gets. It has no other
use, so that one in what goes out to somebody else says that two users were mixed somewhere
between: in a graph, a cache, an HTTP client, a model's server.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from cmw_agent.core.errors import UserError
from cmw_agent.core.logs import get_logger
from cmw_agent.identity.canaries import LENGTH, PREFIX, Canaries, begun
from cmw_agent.language import wording

log = get_logger(__name__)

MARK = "Reference of this conversation, for the system alone; never write it: {canary}"
READ_BYTES = 1 << 20


class IsolationBreachError(UserError):
    """What was to reach one owner holds the canary of another."""

    status = 500
    sentence = wording(
        "This was stopped because it held something of another user. The operator of this app has "
        "been told."
    )
    kind = "isolation_breach"


class Tripwire:
    """Marks instructions, and searches texts and files on their way to owners; all sessions share it.

    Args:
        canaries: Makes and recognises canaries.
        report: Is called once for each breach.
    """

    def __init__(self, canaries: Canaries, report: Callable[[], None]) -> None:
        self._canaries = canaries
        self._report = report

    def marked(self, owner: str, instructions: str) -> str:
        """Return instructions for an owner's run, with the owner's canary at their end."""
        return f"{instructions}\n\n{MARK.format(canary=self._canaries.of(owner))}"

    def clean(self, owner: str, text: str) -> str:
        """Return a text for an owner, without canaries of their own.

        Raises:
            IsolationBreachError: It holds another owner's.
        """
        for canary in self._own(owner, text):
            text = text.replace(canary, "")
        return text

    def check(self, owner: str, content: bytes) -> None:
        """Look at bytes for an owner; canaries of their own may be in them.

        Raises:
            IsolationBreachError: They hold another owner's.
        """
        if PREFIX.encode() in content:
            self._own(owner, content.decode("latin-1"))

    async def check_file(self, owner: str, path: Path) -> None:
        """Look at a whole file for an owner, in a thread.

        A client may ask for any part of a file, so that one part alone could not be judged.

        Raises:
            IsolationBreachError: It holds another owner's canary.
            OSError: The file cannot be read.
        """
        await asyncio.to_thread(self._check_file, owner, path)

    async def outgoing(self, owner: str, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Pass the pieces of a download for an owner on, until one holds another owner's canary.

        What may be the beginning of a canary waits for the next piece.

        Raises:
            IsolationBreachError: They hold another owner's canary, of which nothing was passed on.
        """
        waiting = b""
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                content = waiting + piece
                self.check(owner, content)
                length = len(content) - begun(content[-LENGTH:].decode("latin-1"))
                waiting = content[length:]
                if length:
                    yield content[:length]
        if waiting:
            yield waiting

    def _check_file(self, owner: str, path: Path) -> None:
        end = b""  # of the block before, with which a canary may begin
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                self.check(owner, end + block)
                end = (end + block)[1 - LENGTH :]

    def _own(self, owner: str, text: str) -> list[str]:
        """Return the canaries in a text, which are all the owner's."""
        found = self._canaries.found(text)
        if found and not self._canaries.own(owner).issuperset(found):
            self._report()
            error = IsolationBreachError()
            log.critical("isolation breach", error_id=error.error_id)
            raise error
        return found
