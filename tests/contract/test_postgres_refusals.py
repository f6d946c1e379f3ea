"""A PostgreSQL server that cannot be used is one line for the operator, which says what to change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cmw_agent.cli.commands import database_of
from cmw_agent.config.settings import load_settings
from cmw_agent.core.errors import StartupError
from tests.databases import postgres
from tests.ports import free_port

PASSWORD = "canary-of-a-password"


@pytest.fixture(scope="module")
def sockets() -> Iterator[str]:
    """The folder of the socket of a server whose role `guest` has a password and may create nothing."""
    with postgres() as server:
        folder = parse_qs(urlsplit(str(server.get_uri())).query)["host"][0]
        for command in (
            f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'",
            "CREATE DATABASE chat",
        ):
            server.psql(f"{command};")
        _want_password(server, Path(folder))
        yield folder


def _want_password(server: Any, folder: Path) -> None:
    rules = folder / "pg_hba.conf"
    rules.write_text(f"local all guest scram-sha-256\n{rules.read_text()}")
    server.psql("SELECT pg_reload_conf();")


async def refusal(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the line with which the app refuses to start on a database."""
    monkeypatch.setenv("CMW_DATABASE_URL", url)
    with pytest.raises(StartupError) as caught:
        async with database_of(load_settings(None), patience=2):
            raise AssertionError("the database is open")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("CMW_DATABASE_URL: ")
    assert PASSWORD not in line
    return line


@pytest.mark.parametrize(
    ("login", "name", "said"),
    [
        ("guest:wrong", "chat", "refuses the password"),
        (f"guest:{PASSWORD}", "none", "has no database of this name"),
        (f"guest:{PASSWORD}", "chat", "no right to do this"),
        ("nobody-here:x", "chat", "refuses the user"),
    ],
)
async def test_what_the_server_refuses_is_named(
    login: str, name: str, said: str, sockets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://{login}@/{name}?host={sockets}"
    assert said in await refusal(url, monkeypatch)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:{password}@127.0.0.1:{port}/chat", "nothing listens at its address"),
        ("postgresql://u:{password}@127.0.0.1:{port}/chat?sslmode=verify-full", "unavailable"),
        ("postgresql://u:{password}@no-such-host.invalid/chat", "its host is not known"),
        ("postgresql://u:{password}@{long}.invalid/chat", "the address cannot be used"),
        ("postgresql://u:{password}@127.0.0.1:{port}/chat?sslcert=/none&sslmode=require", "unavailable"),
        ("postgresql://u:{password}@127.0.0.1:{port}/chat?target_session_attrs=odd", "unavailable"),
        ("postgresql://u:{password}@127.0.0.1:{port}/chat?passfile=/none&service=x", "nothing listens"),
    ],
)  # fmt: skip
async def test_an_address_that_leads_nowhere_is_named(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = url.format(password=PASSWORD, port=free_port(), long="x" * 70)
    assert said in await refusal(filled, monkeypatch)
