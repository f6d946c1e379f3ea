"""Takes the bytes of one file from the worker's events."""

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

from cmw_agent.conversations.importing.records import UnreadableError

_NOTHING: MappingProxyType[str, Any] = MappingProxyType({})


class PartialFileError(Exception):
    """The worker could not read all of the file."""


class FileBody:
    """A file, whose bytes are taken from the worker's events.

    Args:
        event: The event that names it.
        events: Those that follow.
    """

    def __init__(self, event: Mapping[str, Any], events: AsyncIterator[Mapping[str, Any]]) -> None:
        self.name = str(event.get("name"))
        self._is_there = event.get("is_there") is True
        self._events = events
        self._has_ended = not self._is_there

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the file. Raises PartialFileError where not all of it is there."""
        if not self._is_there:
            raise PartialFileError
        while (event := await anext(self._events, _NOTHING)).get("event") == "bytes":
            try:
                yield base64.b64decode(str(event.get("data")), validate=True)
            except binascii.Error:
                raise UnreadableError("worker") from None
        self._has_ended = True
        if event.get("is_whole") is not True:
            raise PartialFileError

    async def drain(self) -> None:
        """Read what nobody has taken."""
        while not self._has_ended:
            self._has_ended = (await anext(self._events, _NOTHING)).get("event") != "bytes"
