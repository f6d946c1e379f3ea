"""Compares the origin of a web page with the address of a request (RFC 6454)."""

DEFAULT_PORTS = {"http": "80", "https": "443"}


def same_origin(origin: str, scheme: str, host: str | None) -> bool:
    """Return whether an `Origin` header has the scheme, host and port of the request.

    Args:
        origin: Value of the `Origin` header.
        scheme: Scheme of the request's URL.
        host: Value of the `Host` header.
    """
    # Not parsed as a URL: an origin is scheme, "://" and host; anything else is foreign.
    origin_scheme, _, origin_host = origin.partition("://")
    target = _without_default_port(host or "", scheme)
    if not target or origin_scheme != scheme:
        return False
    return _without_default_port(origin_host, scheme) == target


def _without_default_port(host: str, scheme: str) -> str:
    return host.removesuffix(f":{DEFAULT_PORTS[scheme]}") if scheme in DEFAULT_PORTS else host
