"""Bounds of a server's connections: their number by address, and how slow each may be."""

import ipaddress
from dataclasses import dataclass

from cmw_agent.limits.budgets import Budgets, Hold

LOOPBACK = frozenset({"127.0.0.1", "::1"})
PeerNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time-outs of a connection.

    Args:
        headers: Seconds from the connection's beginning, or a request's first byte, to the end
            of the request's headers.
        body: Seconds from then to the end of the body; each `bytes_per_second` received add one.
        bytes_per_second: Minimum rate of a large body.
        unread: Seconds in which a client must read `unread_bytes` of a waiting response, or the
            rest of it.
        unread_bytes: Number of bytes, see `unread`.
    """

    headers: float = 20.0
    body: float = 20.0
    bytes_per_second: float = 4_096.0
    unread: float = 60.0
    unread_bytes: int = 30_720


class ConnectionBounds:
    """The bounds that the connections of one server share.

    Args:
        budgets: Bounds the number of connections.
        proxies: The setting `CMW_TRUST_PROXY`. A proxy, and this machine, connect for many users
            from one address: such connections count towards the total only.
        deadlines: Time-outs of each connection.
    """

    def __init__(
        self, budgets: Budgets, proxies: str = "", deadlines: Deadlines | None = None
    ) -> None:
        self.deadlines = deadlines or Deadlines()
        self._budgets = budgets
        names = [name.strip() for name in proxies.split(",") if name.strip()]
        networks = [_network(name) for name in names]
        self._networks = [network for network in networks if network is not None]
        # A value that is no address, such as `*`, means that every peer is a proxy.
        self._is_any = len(self._networks) < len(names)

    def take(self, peer: str | None) -> Hold:
        """Count one more connection from a peer.

        Raises:
            RateLimitError, BudgetFullError: The peer, or the server, has its maximum.
        """
        return self._budgets.take("connections", None, None if self._is_proxy(peer) else peer)

    def _is_proxy(self, peer: str | None) -> bool:
        if self._is_any or peer is None or peer in LOOPBACK:
            return True
        address = _network(peer)
        return address is not None and any(
            address.version == network.version and address.subnet_of(network)  # type: ignore[arg-type]
            for network in self._networks
        )


def _network(name: str) -> PeerNetwork | None:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None
