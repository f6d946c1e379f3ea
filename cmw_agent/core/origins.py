"""Origins of web pages: whether one is the origin that a request was sent to."""

DEFAULT_PORTS = {"http": "80", "https": "443"}


def same_origin(origin: str, scheme: str, host: str | None) -> bool:
    """Return whether an Origin header names the scheme, host and port that were asked."""
    # Not parsed: an origin is scheme, "://" and host, and anything else is foreign.
    found, _, place = origin.partition("://")
    wanted = _without_default_port(host or "", scheme)
    return bool(wanted) and found == scheme and _without_default_port(place, scheme) == wanted


def _without_default_port(host: str, scheme: str) -> str:
    return host.removesuffix(f":{DEFAULT_PORTS[scheme]}") if scheme in DEFAULT_PORTS else host
