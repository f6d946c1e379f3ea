"""What the connections of one server share: how many may be from where, and how slow each may be."""

import ipaddress
from dataclasses import dataclass

from cmw_agent.limits.budgets import Budgets, Hold

LOOPBACK = frozenset({"127.0.0.1", "::1"})
PeerNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a connection may let the server wait.

    Args:
        headers: Seconds from the connection's beginning, or a request's first byte, until its
            headers are there.
        body: Seconds from then until the body is there; each `bytes_per_second` that have come
            give it one more.
        bytes_per_second: The rate that a large body must have.
        unread: Seconds in which a client must take `unread_bytes` of an answer that waits for it,
            or the rest of it.
        unread_bytes: See above.
    """

    headers: float = 20.0
    body: float = 20.0
    bytes_per_second: float = 4_096.0
    unread: float = 60.0
    unread_bytes: int = 30_720


class ConnectionBounds:
    """What the connections of one server share.

    Args:
        budgets: Bounds their number.
        proxies: The setting `CMW_TRUST_PROXY`. Through a proxy, and from this machine, come many
            people from one address: such connections count for all alone.
        deadlines: How long each may let the server wait.
    """

    def __init__(
        self, budgets: Budgets, proxies: str = "", deadlines: Deadlines | None = None
    ) -> None:
        self.deadlines = deadlines or Deadlines()
        self._budgets = budgets
        names = [name.strip() for name in proxies.split(",") if name.strip()]
        networks = [_network(name) for name in names]
        self._networks = [network for network in networks if network is not None]
        # Other values than addresses, such as `*`, say that whoever connects is a proxy.
        self._is_any = len(self._networks) < len(names)

    def take(self, peer: str | None) -> Hold:
        """Count one more connection from a peer.

        Raises:
            RateLimitError, BudgetFullError: It has as many as it may, or the server has.
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
