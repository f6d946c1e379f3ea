"""Validators of settings that are URLs, host names, origins or network addresses.

They work as those of `cmw_agent.config.validators`.
"""

import ipaddress
import re
from importlib.util import find_spec
from urllib.parse import SplitResult, parse_qsl, urlsplit

from cmw_agent.config.declarations import SettingValueError
from cmw_agent.config.validators import line, token
from memory.engine.postgres_address import parse_address

HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
FRAME_SOURCE = re.compile(
    r"https?://(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:(\d{1,5}|\*))?"
)
# No segment of dots alone, which browsers resolve, and nothing that would need encoding.
ROOT_PATH = re.compile(r"(?=.{1,200}$)(/(?!\.+(/|$))[A-Za-z0-9._~-]+)+")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
FRAMING_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
SECRET_WORDS = ("key", "token", "secret", "password")
DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SQLITE = ("sqlite", "sqlite+aiosqlite")
MAX_PROXIES = 9
# Networks of a Space's proxies; visitors have public addresses.
INTERNAL_NETWORKS = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10"


def database_url(text: str) -> str:
    """Return the SQLAlchemy URL with its asynchronous driver, for SQLite or PostgreSQL."""
    scheme, separator, rest = line(text).partition("://")
    if not separator:
        raise ValueError
    if scheme in SQLITE:
        name = rest.partition("?")[0]
        # Not in memory: each connection would have a database of its own.
        if not name.startswith("/") or name in ("/", "/:memory:") or name.startswith("/file:"):
            raise ValueError
        return f"sqlite+aiosqlite://{rest}"
    parse_address(text)
    if find_spec("asyncpg") is None:
        raise SettingValueError("needs the package asyncpg for PostgreSQL (pip install asyncpg)")
    return f"postgresql+asyncpg://{rest}"


def base_url(text: str) -> str:
    """Return an http or https URL without query, fragment and trailing slash."""
    address = _web_address(text)
    if address.query or address.fragment:
        raise ValueError
    return address.geturl().rstrip("/")


def endpoint_url(text: str) -> str:
    """Return the http or https URL of a model's endpoint, perhaps with a query.

    A key has no place in it: unlike a setting for keys, it may be logged.
    """
    address = _web_address(text)
    names = [name.lower() for name, _ in parse_qsl(address.query, keep_blank_values=True)]
    if address.fragment or any(word in name for name in names for word in SECRET_WORDS):
        raise ValueError
    return address._replace(path=address.path.rstrip("/")).geturl()


def headers_of(text: str) -> dict[str, str]:
    """Return the headers of lines ``Name: value``, as the openai SDK reads them."""
    lines = (line.partition(":") for line in text.split("\n") if line.strip())
    return {name.strip(): value.strip() for name, _, value in lines}


def header_lines(text: str) -> str:
    """Return lines ``Name: value`` each of which is a header that HTTP allows."""
    for name, value in headers_of(text).items():
        is_value = value.isprintable() and value.isascii()
        if not HEADER_NAME.fullmatch(name) or not is_value or name.lower() in FRAMING_HEADERS:
            raise ValueError
    return text.strip()


def provider_url(text: str) -> str:
    """Return the URL of an OpenID provider without trailing slash.

    Plain http is allowed on this machine only: whoever is on the way could sign in as anyone.
    """
    address = base_url(text)
    if address.startswith("http://") and urlsplit(address).hostname not in LOOPBACK:
        raise ValueError
    return address


def host(text: str) -> str:
    """Return an IP address or a host name, without a port."""
    trimmed = line(text)
    try:
        return str(ipaddress.ip_address(trimmed))
    except ValueError:
        if not HOST_NAME.fullmatch(trimmed):
            raise ValueError from None
        return trimmed


def origins(text: str) -> frozenset[str]:
    """Return the origins of a comma-separated list, each in the form of the `Origin` header."""
    return frozenset(origin(part) for part in text.split(",") if part.strip())


def redis_url(text: str) -> str:
    """Return the URL of a Redis server."""
    address = _split(token(text))
    if address.scheme not in ("redis", "rediss", "unix"):
        raise ValueError
    if find_spec("redis") is None:
        raise SettingValueError("needs the package redis (pip install redis)")
    return address.geturl()


def frame_ancestors(text: str) -> str:
    """Return the sources of the CSP directive `frame-ancestors`, space-separated."""
    # Parsing an .env file removes the quotes of 'self', without which it is a host name.
    quoted = {"self": "'self'", "none": "'none'"}
    sources = [quoted.get(part.strip("'"), part) for part in re.split(r"[\s,]+", line(text))]
    if any(not _is_frame_source(source) for source in sources):
        raise ValueError
    if "'none'" in sources and len(sources) > 1:
        raise ValueError
    return " ".join(dict.fromkeys(sources))


def proxies(text: str) -> str:
    """Return a number of proxies, or a comma-separated list of addresses and networks."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if "*" in parts:
        raise SettingValueError(
            "takes no * any more: it believed whatever address a client sent; write how many "
            "proxies stand in front of the app, such as 1, or their addresses"
        )
    if len(parts) == 1 and parts[0].isascii() and parts[0].isdigit():
        if int(parts[0]) > MAX_PROXIES:
            raise ValueError
        return parts[0] if int(parts[0]) else ""
    return ",".join(_network(part) for part in parts)


def root_path(text: str) -> str:
    """Return a path of plain segments without its last slash; empty for the host's root."""
    trimmed = text.strip().rstrip("/")
    if trimmed and not ROOT_PATH.fullmatch(trimmed):
        raise ValueError
    return trimmed


def hosts(text: str) -> frozenset[str]:
    """Return the host names of a comma-separated list, in lower case."""
    return frozenset(_host_name(part.strip()) for part in text.split(",") if part.strip())


def _host_name(text: str) -> str:
    if text == "*":
        return text
    wildcard = "*." if text.startswith("*.") else ""
    return wildcard + host(text.removeprefix(wildcard).strip("[]")).lower()


def _network(text: str) -> str:
    network = ipaddress.ip_network(text, strict=False)
    return str(network.network_address if network.num_addresses == 1 else network)


def _is_frame_source(source: str) -> bool:
    return source in ("'self'", "'none'", "*") or bool(FRAME_SOURCE.fullmatch(source))


def origin(text: str) -> str:
    """Return an origin in the form of the `Origin` header: without default port and path."""
    address = _web_address(text)
    if address.path.strip("/") or address.query or address.fragment:
        raise ValueError
    name = address.hostname or ""
    name = f"[{name}]" if ":" in name else name
    has_default_port = address.port in (None, DEFAULT_PORTS[address.scheme])
    port = "" if has_default_port else f":{address.port}"
    return f"{address.scheme}://{name}{port}"


def _web_address(text: str) -> SplitResult:
    address = _split(token(text))
    if address.scheme not in DEFAULT_PORTS or not address.hostname or "@" in address.netloc:
        raise ValueError
    return address


def _split(text: str) -> SplitResult:
    try:
        address = urlsplit(text)
        _ = address.port
    except ValueError:
        raise ValueError from None
    return address
