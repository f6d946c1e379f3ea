"""Applies the forwarding headers that trusted proxies have written.

Each proxy appends to X-Forwarded-For the address that connected to it. Only the right-most
entries are therefore written by trusted proxies; the client may have sent everything left of
them. See ``docs/adr/0024-trusted-proxies-by-count.md``.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from cmw_agent.config.network_validators import root_path
from cmw_agent.web.security.root_path import hides_route

Network = IPv4Network | IPv6Network
HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The trusted proxies in front of the app: a number of hops, or the networks they are in.

    Where both are empty, all forwarding headers are ignored.
    """

    hops: int = 0
    networks: tuple[Network, ...] = field(default=())

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the proxies of the setting `CMW_TRUST_PROXY`.

        Args:
            text: A number of hops, or networks separated by commas; validated before.
        """
        if text.isdigit():
            return cls(hops=int(text))
        return cls(networks=tuple(ipaddress.ip_network(part) for part in text.split(",") if part))

    def __bool__(self) -> bool:
        return self.hops > 0 or bool(self.networks)

    def count_hops(self, peer: str, forwarded: list[str]) -> int:
        """Return how many trusted proxies a request has passed through, the peer included.

        Args:
            peer: The address of the connection's other end.
            forwarded: The entries of X-Forwarded-For, in their order.
        """
        if self.hops:
            return self.hops
        count = 0
        for address in (peer, *reversed(forwarded)):
            if not self._trusts(address):
                break
            count += 1
        return count

    def _trusts(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)


class ProxyHeaders:
    """ASGI middleware that puts the client's address, scheme, host and prefix into the scope.

    It uses only entries that trusted proxies have written, and leaves the forwarding headers as
    they are.

    Args:
        app: The app behind it.
        proxies: The trusted proxies.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._proxies and scope["type"] == "http":
            scope = self._with_client(scope)
        await self._app(scope, receive, send)

    def _with_client(self, scope: Scope) -> Scope:
        """Return the scope with the client's address, scheme and host, and the app's root path."""
        client = scope.get("client")
        peer = client[0] if client else ""
        forwarded = [
            _without_port(entry.decode("latin-1")) for entry in _entries(scope, b"x-forwarded-for")
        ]
        hops = self._proxies.count_hops(peer, forwarded)
        if hops == 0:
            return scope
        result = dict(scope)
        address = _client_address(forwarded, hops)
        if address is not None:
            result["client"] = (address, 0)
        proto = _outermost_entry(scope, b"x-forwarded-proto", hops)
        if proto in (b"http", b"https"):
            result["scheme"] = proto.decode("ascii")
        host = _outermost_entry(scope, b"x-forwarded-host", hops)
        if HOST.fullmatch(host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            result["headers"] = [(b"host", host), *others]
        result["root_path"] = _prefix(scope, hops)
        return result


def _client_address(forwarded: list[str], hops: int) -> str | None:
    """Return the address that connected to the outermost trusted proxy, or None."""
    # An entry that is no address was not written by a proxy; the one right of it was.
    for entry in forwarded[-hops:]:
        try:
            return str(ipaddress.ip_address(entry))
        except ValueError:
            continue
    return None


def _prefix(scope: Scope, hops: int) -> str:
    """Return the path that the trusted proxies have taken off; empty for none, or a wrong one."""
    # Each proxy that takes a part off appends it.
    entries = _entries(scope, b"x-forwarded-prefix")[-hops:]
    try:
        prefix = root_path(b"".join(entry.rstrip(b"/") for entry in entries).decode("ascii"))
    except ValueError:
        return ""
    return "" if hides_route(prefix) else prefix


def _outermost_entry(scope: Scope, name: bytes, hops: int) -> bytes:
    """Return the header's entry of the outermost trusted proxy; empty without the header."""
    entries = _entries(scope, name)
    return entries[-min(hops, len(entries))] if entries else b""


def _entries(scope: Scope, name: bytes) -> list[bytes]:
    """Return the comma-separated entries of all headers of this name."""
    lines = [value for header, value in scope["headers"] if header == name]
    return [entry.strip() for entry in b",".join(lines).split(b",")] if lines else []


def _without_port(entry: str) -> str:
    match = WITH_PORT.fullmatch(entry)
    return next(part for part in match.groups() if part is not None) if match else entry
