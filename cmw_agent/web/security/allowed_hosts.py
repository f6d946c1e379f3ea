"""The host names under which the app answers; requests with another Host are refused.

This prevents DNS rebinding: a page of another site whose name resolves to this app.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from cmw_agent.config.settings import Settings
from cmw_agent.language import wording

REFUSED = wording(
    "This app does not answer under the name in the request's Host header. Its operator lists "
    "the names in CMW_ALLOWED_HOSTS; a proxy in front of it must hand on the Host header."
)
ON_SPACES = "*.hf.space"
MAX_CHARS = 255  # of a host name (RFC 1035)


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names that a Host header may have.

    `names` are lower-case host names, ``*.example.com`` for all subdomains, ``*`` for any name.
    Names and addresses of this machine are always allowed. `addresses` allows every other IP
    address: DNS rebinding needs a name, so that they are safe.
    """

    names: frozenset[str] = frozenset({"*"})
    addresses: bool = True

    @classmethod
    def of(cls, settings: Settings) -> "AllowedHosts":
        """Return the names that the settings list.

        Without a list: on Spaces the Space's own names; where the app listens on a loopback address
        and trusts no proxy, this machine's alone; elsewhere any, because a proxy selects by name.
        """
        addresses = (*settings.allowed_origins, settings.public_url or "")
        own_names = {name for address in addresses if (name := urlsplit(address).hostname)}
        if settings.allowed_hosts:
            return cls(settings.allowed_hosts | own_names)
        if settings.space_host:
            return cls(frozenset({settings.space_host.lower(), ON_SPACES, *own_names}))
        if _is_loopback(settings.host) and not settings.trust_proxy:
            return cls(frozenset(own_names), addresses=False)
        return cls()

    def allow(self, host: str | None) -> bool:
        """Return whether a request with this Host header is answered."""
        if "*" in self.names:
            return True
        name = _name(host or "")
        if not name:
            return False
        if _is_loopback(name):
            return True
        if _is_address(name):
            return self.addresses or name in self.names
        return name in self.names or any(f"*.{parent}" in self.names for parent in _parents(name))


def _name(host: str) -> str:
    """Return the host name of a Host header; an empty text for a malformed one."""
    if len(host) > MAX_CHARS + len(":65535"):
        return ""
    try:
        address = urlsplit(f"//{host}")
        _ = address.port
    except ValueError:
        return ""
    is_bare = not (address.path or address.query or address.fragment or "@" in host)
    return (address.hostname or "").rstrip(".") if is_bare else ""


def _parents(name: str) -> Iterable[str]:
    """Yield the domains that contain `name`, nearest first."""
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
