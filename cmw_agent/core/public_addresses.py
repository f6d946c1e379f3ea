"""Which addresses are of the public Internet, and not of this machine or its network."""

import ipaddress

NAT64 = "64:ff9b::/96"  # IPv4 addresses as IPv6


def is_public(address: str) -> bool:
    """Whether an IP address is of the public Internet."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if (
            found.sixtofour is not None
            or found.teredo is not None
            or found in ipaddress.ip_network(NAT64)
        ):
            return False  # they lead to an IPv4 address that stands within them
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast


def may_be_public(host: str) -> bool:
    """Whether a host of an address is a name, or a public IP address; names are resolved later."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        # what a resolver of the system may take for an IP address: 127.1, 0x7f000001, 2130706433
        return not host.rpartition(".")[2][:1].isdigit()
    return is_public(host)
