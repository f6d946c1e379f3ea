"""Addresses of PostgreSQL databases, as hosters and other clients write them, are understood."""

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.config.settings import SettingsError, load_settings
from memory.engine.database import open_database
from memory.engine.postgres_address import parse_address

PLAIN = "postgresql://u:p@host/chat"


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        (PLAIN, PLAIN),
        ("postgres://u:p@host:5432/chat", "postgresql://u:p@host:5432/chat"),
        ("postgresql+asyncpg://u:p@host/chat", PLAIN),
        ("postgresql+psycopg://u:p@host/chat", PLAIN),
        ("postgresql+psycopg2://u:p@host/chat", PLAIN),
        ("jdbc:postgresql://host/chat?user=u&password=p", "postgresql://host/chat?user=u&password=p"),
        (f"{PLAIN}?sslmode=require", f"{PLAIN}?sslmode=require"),
        (f"{PLAIN}?sslmode=REQUIRE", f"{PLAIN}?sslmode=require"),
        (f"{PLAIN}?sslmode=", PLAIN),
        (f"{PLAIN}?sslmode=no-verify", f"{PLAIN}?sslmode=require"),
        (f"{PLAIN}?ssl=true", f"{PLAIN}?sslmode=require"),
        (f"{PLAIN}?ssl=false", f"{PLAIN}?sslmode=disable"),
        (f"{PLAIN}?sslmode=require&channel_binding=require", f"{PLAIN}?sslmode=require"),
        (f"{PLAIN}?application_name=my%20chat", f"{PLAIN}?application_name=my%20chat"),
        (f"{PLAIN}?ApplicationName=chat", f"{PLAIN}?application_name=chat"),
        (f"{PLAIN}?schema=chat", f"{PLAIN}?search_path=chat"),
        (f"{PLAIN}?options=endpoint%3Dep-cool-1", f"{PLAIN}?options=endpoint%3Dep-cool-1"),
        (f"{PLAIN}?options=-c%20statement_timeout%3D5s", f"{PLAIN}?options=-c%20statement_timeout%3D5s"),
        (
            "postgresql://u:p@one:5432,two:5433/chat?target_session_attrs=read-write",
            "postgresql://u:p@one:5432,two:5433/chat?target_session_attrs=read-write",
        ),
        ("postgresql://u:p@[::1]:5433/chat", "postgresql://u:p@[::1]:5433/chat"),
        ("postgresql:///chat?host=/run/postgresql", "postgresql:///chat?host=%2Frun%2Fpostgresql"),
        ("postgresql://u@%2Frun%2Fpostgresql/chat", "postgresql://u@%2Frun%2Fpostgresql/chat"),
        ("postgresql://u:p@ss%23w@host/chat", "postgresql://u:p%40ss%23w@host/chat"),
        ("postgresql://u%40tenant:50%@host/chat", "postgresql://u%40tenant:50%25@host/chat"),
        (f"{PLAIN}?pgaudit.log=all", f"{PLAIN}?pgaudit.log=all"),
        (f"{PLAIN}?sslrootcert=/etc/ca.pem&sslmode=verify-full", f"{PLAIN}?sslrootcert=%2Fetc%2Fca.pem&sslmode=verify-full"),
    ],
)  # fmt: skip
def test_an_address_is_brought_to_the_form_of_the_driver(url: str, dsn: str) -> None:
    assert parse_address(url).dsn == dsn


def test_the_certificates_of_the_machine_can_be_the_ones_that_count() -> None:
    address = parse_address(f"{PLAIN}?sslmode=verify-full&sslrootcert=system")
    assert address.needs_known_server
    assert address.dsn == PLAIN


@pytest.mark.parametrize(
    "parameter",
    [
        *("pgbouncer=true", "prepareThreshold=0", "prepared_statements=false"),
        *("statement_cache_size=0", "prepared_statement_cache_size=0"),
    ],
)
def test_a_pooler_can_be_named_by_one_parameter(parameter: str) -> None:
    address = parse_address(f"{PLAIN}?{parameter}")
    assert address.is_pooled
    assert (address.dsn, address.ignored) == (PLAIN, ())


def test_what_has_no_effect_is_named() -> None:
    url = f"{PLAIN}?channel_binding=require&connection_limit=5&supa=x&keepalives=1"
    assert parse_address(url).ignored == (
        "channel_binding",
        "connection_limit",
        "keepalives",
        "supa",
    )


def test_the_time_for_a_connection_is_the_address_s() -> None:
    assert parse_address(f"{PLAIN}?connect_timeout=15").timeout == 15
    assert parse_address(f"{PLAIN}?connect_timeout=1").timeout == 2
    assert parse_address(f"{PLAIN}?connect_timeout=0").timeout is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p#w@host/chat",
        "postgresql://u:p/w@host/chat",
        "postgresql://u:p@host:port/chat",
        "postgresql://u:p@host:99999/chat",
        "postgresql://u:p@::1/chat",
        f"{PLAIN}?sslmode=maybe",
        "postgresql+mysql://u:p@host/chat",
        "mysql://u:p@host/chat",
    ],
)
def test_an_address_that_cannot_be_is_refused_in_one_line_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMW_DATABASE_URL", url)
    with pytest.raises(SettingsError) as caught:
        load_settings(None)
    lines = str(caught.value).splitlines()
    assert any("CMW_DATABASE_URL" in line for line in lines)
    assert not any("p#w" in line or "p/w" in line for line in lines)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12)


@given(TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3))
def test_no_address_of_any_shape_raises_anything_but_a_value_error(
    user: str, password: str, host: str, name: str, query: dict[str, str]
) -> None:
    parameters = "&".join(f"{quote(key)}={quote(value)}" for key, value in query.items())
    for url in (
        f"postgresql://{user}:{password}@{host}/{name}?{parameters}",
        f"postgres://{quote(user)}:{quote(password)}@{quote(host)}/{quote(name)}?{parameters}",
        f"postgresql://{host}?{parameters}{user}",
    ):
        with contextlib.suppress(ValueError):
            open_database(url)
