"""Principals, tokens, session keys and the secret keys behind them."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cmw_agent.core.errors import MalformedSessionError, MissingSessionError, StartupError
from cmw_agent.identity.principals import KEY_FILE, Identities, Principal, SessionKey
from cmw_agent.identity.secret_key import load_keys
from tests.harness import Browser, served, settings_for
from tests.service import live_sessions

KEY = "k" * 32
VISITOR = Principal("v" + "0" * 32, "visitor")


# -- session keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [None, ""])
def test_no_session_key_is_made_of_nothing(raw: object) -> None:
    with pytest.raises(MissingSessionError):
        SessionKey.parse(raw)


@pytest.mark.parametrize(
    "raw", ["abc", "g" * 64, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", 0, False, [], b"a" * 64]
)
def test_what_the_guard_did_not_make_is_no_session_key(raw: object) -> None:
    with pytest.raises(MalformedSessionError):
        SessionKey.parse(raw)


def test_a_session_key_survives_the_way_through_the_request() -> None:
    key = Identities((KEY,)).session_key(VISITOR, "abc")
    assert SessionKey.parse(key.value) == key


def test_a_session_key_tells_neither_visitor_nor_hash() -> None:
    key = Identities((KEY,)).session_key(VISITOR, "abcdefgh")
    assert VISITOR.id[1:] not in key.value
    assert "abcdefgh" not in key.value


# -- principals -----------------------------------------------------------------------------


def test_an_ephemeral_principal_is_never_a_visitor() -> None:
    ephemeral = Identities((KEY,)).ephemeral("abc", "192.0.2.1")
    assert ephemeral.kind == "ephemeral"
    assert not ephemeral.is_stored
    assert VISITOR.is_stored
    assert ephemeral.id.startswith("e")


def test_an_ephemeral_id_cannot_be_worked_out_without_the_key() -> None:
    one, two = (Identities((key,)).ephemeral("abc", "192.0.2.1") for key in (KEY, "x" * 32))
    assert one != two


def test_the_name_in_logs_is_no_id() -> None:
    assert VISITOR.log_name not in VISITOR.id
    assert len(VISITOR.log_name) == 12
    assert VISITOR.log_name != Principal("v" + "1" * 32, "visitor").log_name


def test_visitors_are_never_the_same() -> None:
    made = {Identities((KEY,)).new_visitor().id for _ in range(1_000)}
    assert len(made) == 1_000


@pytest.mark.parametrize("keys", [(), ("",), (KEY, "")])
def test_without_a_key_nobody_is_identified(keys: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="secret key"):
        Identities(keys)


def test_a_token_is_worth_nothing_under_another_key() -> None:
    token = Identities((KEY,)).sign(VISITOR, "cookie")
    assert Identities((KEY,)).verify(token, "cookie") == VISITOR
    assert Identities(("x" * 32, KEY)).verify(token, "cookie") == VISITOR
    assert Identities(("x" * 32,)).verify(token, "cookie") is None


# -- the token for a page whose browser refuses the cookie ------------------------------------


async def test_a_page_with_a_cookie_gets_no_token_that_a_script_could_leak(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as browser:
        await browser.open()
        mine = Identities(("s" * 32,)).sign(VISITOR, "cookie")  # of the wrong medium
        for header in ({}, {"x-cmw-visitor": "?"}, {"x-cmw-visitor": mine}):
            async with browser.http.get(f"{app.url}/visitor", headers=header) as answer:
                told = await answer.json()
                assert (told["cookie"], told["token"]) == (True, None), header


async def test_a_page_without_a_cookie_gets_a_token_and_stays_who_it_is(tmp_path: Path) -> None:
    async with (
        served(settings_for(tmp_path)) as app,
        Browser(app.url, cookies=False) as browser,
    ):
        tokens: list[str] = []
        header: dict[str, str] = {}
        for _ in range(2):
            async with browser.http.get(f"{app.url}/visitor", headers=header) as answer:
                visit = await answer.json()
                assert visit["cookie"] is False
                assert "set-cookie" not in answer.headers
            tokens.append(visit["token"])
            header = {"x-cmw-visitor": visit["token"]}
        identities = Identities(("s" * 32,))
        assert identities.verify(tokens[0], "header") == identities.verify(tokens[1], "header")
        tab = await browser.open(headers=header)
        await tab.send("hello")
        (session,) = live_sessions(app.application.runtime).values()
        assert session.principal == identities.verify(tokens[0], "header")


# -- secret keys ------------------------------------------------------------------------------


def test_configured_keys_come_in_their_order(tmp_path: Path) -> None:
    assert load_keys(f" {KEY} ,{'o' * 16},", tmp_path) == (KEY, "o" * 16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("configured", ["", ",", "short", f"{KEY},short"])
def test_a_key_that_is_too_short_stops_the_start(configured: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="CMW_SECRET_KEY") as stopped:
        load_keys(configured, tmp_path)
    assert "short" not in str(stopped.value).replace("shorter", "")


def test_a_key_is_made_once_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    (key,) = load_keys(None, tmp_path)
    assert len(key) >= 32
    assert load_keys(None, tmp_path) == (key,)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


def test_many_makers_at_once_end_up_with_one_key(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    made: list[tuple[str, ...]] = []

    def make() -> None:
        together.wait(10)
        made.append(load_keys(None, tmp_path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 8
    assert len(set(made)) == 1
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


def test_two_processes_read_the_same_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cmw_agent.identity.secret_key import load_keys; "
        "print(load_keys(None, Path(sys.argv[1]))[0])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert load_keys(None, tmp_path) == (told.stdout.strip(),)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, b" \n"])
def test_a_key_file_without_a_key_stops_the_start(content: bytes, tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(StartupError, match="CMW_DATA_DIR"):
        load_keys(None, tmp_path)


def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="CMW_DATA_DIR") as stopped:
        load_keys(None, tmp_path / "gone")
    assert os.fspath(tmp_path) not in str(stopped.value)
