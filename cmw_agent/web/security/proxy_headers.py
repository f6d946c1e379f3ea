"""Trusted proxies: what a request's forwarding headers are believed, and by how many hops.

Each proxy appends to X-Forwarded-For the address it was connected from, so that only the
right-most entries were written by proxies of one's own: whatever stands left of them, the client
may have sent. See ``docs/adr/0024-trusted-proxies-by-count.md``.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network
HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
PORTED = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies in front of the app: a number of hops, or the networks they are in.

    Where both are empty nobody's forwarding headers are believed.
    """

    hops: int = 0
    networks: tuple[Network, ...] = field(default=())

    @classmethod
    def of(cls, text: str) -> Self:
        """Return what the checked setting `CMW_TRUST_PROXY` says."""
        if text.isdigit():
            return cls(hops=int(text))
        return cls(networks=tuple(ipaddress.ip_network(part) for part in text.split(",") if part))

    def __bool__(self) -> bool:
        return self.hops > 0 or bool(self.networks)

    def passed(self, peer: str, forwarded: list[str]) -> int:
        """Return how many trusted proxies a request has passed, the connected one included.

        Args:
            peer: The address that is connected.
            forwarded: The entries of X-Forwarded-For, as they stand.
        """
        if self.hops:
            return self.hops
        count = 0
        for address in (peer, *reversed(forwarded)):
            if not self._has(address):
                break
            count += 1
        return count

    def _has(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self.networks)


class ProxyHeaders:
    """ASGI middleware that puts the client's address, scheme and host into the scope.

    It changes them only by what trusted proxies have written. The headers stay as they came.

    Args:
        app: The app behind it.
        proxies: Those that are trusted.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._proxies and scope["type"] == "http":
            scope = self._settled(scope)
        await self._app(scope, receive, send)

    def _settled(self, scope: Scope) -> Scope:
        client = scope.get("client")
        peer = client[0] if client else ""
        forwarded = [
            _without_port(entry.decode("latin-1")) for entry in _entries(scope, b"x-forwarded-for")
        ]
        passed = self._proxies.passed(peer, forwarded)
        if passed == 0:
            return scope
        settled = dict(scope)
        address = _client(forwarded, passed)
        if address is not None:
            settled["client"] = (address, 0)
        proto = _written(scope, b"x-forwarded-proto", passed)
        if proto in (b"http", b"https"):
            settled["scheme"] = proto.decode("ascii")
        host = _written(scope, b"x-forwarded-host", passed)
        if HOST.fullmatch(host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            settled["headers"] = [(b"host", host), *others]
        return settled


def _client(forwarded: list[str], passed: int) -> str | None:
    """Return the address that the outermost trusted proxy was connected from, if it is one."""
    # An entry that is no address was not written by a proxy; the one right of it was.
    for entry in forwarded[-passed:]:
        try:
            return str(ipaddress.ip_address(entry))
        except ValueError:
            continue
    return None


def _written(scope: Scope, name: bytes, passed: int) -> bytes:
    """Return what the outermost trusted proxy wrote into a header; empty where it wrote none."""
    entries = _entries(scope, name)
    return entries[-min(passed, len(entries))] if entries else b""


def _entries(scope: Scope, name: bytes) -> list[bytes]:
    lines = [value for found, value in scope["headers"] if found == name]
    return [entry.strip() for entry in b",".join(lines).split(b",")] if lines else []


def _without_port(entry: str) -> str:
    found = PORTED.fullmatch(entry)
    return next(part for part in found.groups() if part is not None) if found else entry
