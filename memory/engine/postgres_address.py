"""Reads the address of a PostgreSQL database in the forms that hosters and other clients use.

The parameters of libpq are at https://www.postgresql.org/docs/current/libpq-connect.html. asyncpg
takes some of them, sends each one that it does not know to the server as a setting, and the server
refuses a connection whose settings it does not know: so each parameter is sorted here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

DRIVERS: Final = frozenset(
    {"asyncpg", "psycopg", "psycopg2", "psycopg_async", "psycopg2cffi", "pg8000"}
)
SYSTEM_CERTIFICATES: Final = "system"  # libpq's value of sslrootcert for those of the machine

# What asyncpg reads from an address itself.
_ASYNCPG: Final = frozenset(
    {"host", "port", "dbname", "database", "user", "password", "passfile", "service"}
    | {"sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs"}
    | {"krbsrvname", "gsslib"}
)
# Settings of the server that a client may send; others with a dot belong to the server's extensions.
_SERVER: Final = frozenset(
    {"application_name", "options", "search_path", "timezone", "datestyle", "intervalstyle", "role"}
    | {"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}
    | {"idle_session_timeout", "transaction_timeout", "client_min_messages", "work_mem", "jit"}
    | {"default_transaction_isolation", "default_transaction_read_only", "row_security"}
    | {"tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"}
)
# The names of other clients for the same thing.
_SYNONYMS: Final = {
    "ssl": "sslmode",
    "fallback_application_name": "application_name",
    "applicationname": "application_name",
    "currentschema": "search_path",
    "schema": "search_path",
    "username": "user",
}
_MODES: Final = {"true": "require", "1": "require", "on": "require", "no-verify": "require"}
_MODES_OFF: Final = {"false": "disable", "0": "disable", "off": "disable"}
_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
# What other clients are given where a pooler hands out a server's connection by the transaction.
_POOLED: Final = {
    "pgbouncer": {"true", "1", "on"},
    "preparethreshold": {"0"},
    "prepare_threshold": {"0", "none"},
    "prepared_statements": {"false", "0", "off"},
    "statement_cache_size": {"0"},
    "prepared_statement_cache_size": {"0"},
}


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a database is, and how to connect to it.

    Attributes:
        dsn: The address for asyncpg.
        needs_known_server: Whether the server's certificate must be one that this machine trusts.
        is_pooled: Whether the address says that a pooler hands out connections by the transaction.
        timeout: Seconds for making a connection; None where the address names none.
        ignored: The names of the parameters that have no meaning here, sorted.
    """

    dsn: str = field(repr=False)
    needs_known_server: bool = False
    is_pooled: bool = False
    timeout: float | None = None
    ignored: tuple[str, ...] = ()


def is_postgres(url: str) -> bool:
    """Return whether a URL names a PostgreSQL database, for whatever client it was made."""
    scheme, _, driver = url.removeprefix("jdbc:").partition("://")[0].partition("+")
    return scheme in ("postgres", "postgresql") and (not driver or driver in DRIVERS)


def parse_address(url: str) -> PostgresAddress:
    """Return what the URL of a PostgreSQL database says.

    Raises:
        ValueError: It is none, or a parameter has a value that it cannot have; the message has no
            part of the URL but the parameter's name.
    """
    if not is_postgres(url):
        raise ValueError("not a PostgreSQL address")
    parts = urlsplit("postgresql://" + url.partition("://")[2])
    given = _parameters(parts.query)
    known_server = given.get("sslrootcert") == SYSTEM_CERTIFICATES
    if known_server:
        given.pop("sslrootcert")
        given.pop("sslmode", None)
    kept = {name: value for name, value in given.items() if _is_understood(name)}
    return PostgresAddress(
        dsn=f"postgresql://{_authority(parts.netloc)}{parts.path}{_query(kept)}",
        needs_known_server=known_server,
        is_pooled=any(given.get(name, "").lower() in values for name, values in _POOLED.items()),
        timeout=_seconds(given.get("connect_timeout")),
        ignored=tuple(sorted(given.keys() - kept.keys() - _POOLED.keys() - {"connect_timeout"})),
    )


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters by their names for asyncpg; the last of a name counts, none is empty."""
    given = {}
    for name, value in parse_qsl(query):
        lower = name.lower()
        given[_SYNONYMS.get(lower, lower)] = value
    if "sslmode" in given:
        mode = given["sslmode"].lower()
        given["sslmode"] = (_MODES | _MODES_OFF).get(mode, mode)
        if given["sslmode"] not in _SSL_MODES:
            raise ValueError("sslmode is not one of PostgreSQL's")
    return given


def _is_understood(name: str) -> bool:
    return name in _ASYNCPG or name in _SERVER or "." in name


def _query(given: Mapping[str, str]) -> str:
    return f"?{urlencode(given, quote_via=quote)}" if given else ""


def _authority(netloc: str) -> str:
    """Return user, password and hosts in the form that asyncpg reads.

    It takes the first ``@`` for the end of the password, which may have some of its own.
    """
    login, at, hosts = netloc.rpartition("@")
    for host in hosts.split(","):
        _check_port(host)
    if not at:
        return hosts
    user, colon, password = login.partition(":")
    return f"{_quoted(user)}{colon}{_quoted(password)}@{hosts}"


def _quoted(text: str) -> str:
    return quote(unquote(text), safe="")


def _check_port(host: str) -> None:
    name, _, port = host.rpartition(":")
    if not port or not name or "]" in port:  # no port, or an IPv6 address without one
        return
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError("the port is no number: encode special characters of the password")
    if not name.startswith("[") and ":" in name:
        raise ValueError("an IPv6 address needs brackets")


def _seconds(text: str | None) -> float | None:
    """Return libpq's connect_timeout: whole seconds, of which it makes at least two."""
    if text is None or not text.isascii() or not text.isdecimal() or int(text) == 0:
        return None
    return float(max(int(text), 2))
