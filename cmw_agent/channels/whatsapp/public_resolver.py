"""PublicResolver: finds the addresses of hosts, and none that is of this machine or its network.

What a delivery names as the address of a file may be anybody's choice, and must not lead to what
only this machine can reach.
"""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from cmw_agent.core.public_addresses import is_public


class PublicResolver(AbstractResolver):
    """Resolves names to addresses of the public Internet alone."""

    def __init__(self) -> None:
        self._inner = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the public addresses of a host. Raises OSError where it has none."""
        found = await self._inner.resolve(host, port, family)
        public = [item for item in found if is_public(item["host"])]
        if not public:
            raise OSError(None, "the host has no public address")
        return public

    async def close(self) -> None:
        """Release what the resolver holds."""
        await self._inner.close()
