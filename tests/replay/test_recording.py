"""What `CMW_RECORD` writes, for whom, and when it goes."""

import asyncio
import os
import re
import stat
import time
from hashlib import sha1
from pathlib import Path

import orjson
import pytest

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.recording.recorder import Recorder, git_hash
from cmw_agent.recording.redaction import REDACTED, Redaction
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.web.login.accounts import Accounts
from memory.receipts import digest
from memory.records import new_conversation_id
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import canary, served
from tests.replay.stage import KEY, again, recorded, recording, running, say
from tests.service import all_events, answer_text, session_of, turn_end
from tests.unit.test_commands import run as command

CALL = 'tool:calculate:{"expression": "6*7"}'


def cassette_files(folder: Path) -> list[Path]:
    return sorted((folder / "cassettes").rglob("*.jsonl"))


async def test_without_the_setting_nothing_is_recorded(tmp_path: Path) -> None:
    async with running(recording(tmp_path, record=None, openai_api_key=None)) as runtime:
        await say(runtime, "Hello")
        assert runtime.services.dependencies.recorder is None
    assert not (tmp_path / "cassettes").exists()


async def test_a_turn_leaves_what_the_model_got_and_gave_and_no_key(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = recording(tmp_path, openai_base_url=endpoint.base_url, model=CALL)
        async with running(settings) as runtime:
            events = await say(runtime, "How much?")
        [cassette] = recorded(tmp_path)
        assert [each.status for each in cassette.exchanges] == [200, 200]
        sent = [request.body for request in endpoint.requests]
    assert [orjson.loads(each.body) for each in cassette.exchanges] == sent
    assert b"chat.completion.chunk" in cassette.exchanges[0].parts[0].data
    [call] = cassette.calls
    assert (call.name, call.arguments) == ("calculate", {"expression": "6*7"})
    assert call.result is not None
    assert "42" in call.result["text"]
    assert cassette.answer["text"] == answer_text(events)
    assert cassette.header["owner"] == cassette.path.parts[-3]
    assert cassette.header["settings"]["history_tokens"] == settings.history_tokens
    [file] = cassette_files(tmp_path)
    assert KEY not in file.read_text()
    assert "authorization" not in file.read_text().lower()


async def test_a_cassette_is_for_the_app_s_account_alone(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        await say(runtime, "Hello")
    everything = [tmp_path / "cassettes", *(tmp_path / "cassettes").rglob("*")]
    modes = {(each.is_dir(), stat.S_IMODE(each.stat().st_mode)) for each in everything}
    assert modes == {(True, 0o700), (False, 0o600)}


async def test_what_is_stored_nowhere_is_not_recorded(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        someone = Principal("e" + "0" * 32, "ephemeral")
        session = await runtime.registry.session(SessionKey("0" * 64), someone)
        session.conversation_id = new_conversation_id()
        events = await all_events(runtime.chat.turn(session, "Hello", key="one"))
        assert turn_end(events).outcome == "complete"
    assert not cassette_files(tmp_path)


async def test_a_rule_is_kept_however_the_stream_divides_what_it_matches(tmp_path: Path) -> None:
    secret = f"card 4711 {canary()}"
    async with OpenAIDouble() as endpoint:
        settings = recording(
            tmp_path,
            openai_base_url=endpoint.base_url,
            model="echo",  # word by word
            record_redact=r"card \d+ canary-\w+",
        )
        async with running(settings) as runtime:
            events = await say(runtime, f"Please note: {secret}.")
        assert secret in answer_text(events), "the answer itself is left as it is"
    [file] = cassette_files(tmp_path)
    text = file.read_text()
    assert secret[-16:] not in text
    assert "4711" not in text
    [cassette] = recorded(tmp_path)
    assert cassette.answer["text"] == f"You said: Please note: {REDACTED}."
    [replayed] = await again([cassette], tmp_path)
    assert replayed.is_same, replayed.differences


def test_a_stream_is_redacted_across_its_events_and_keeps_its_other_bytes() -> None:
    chunks = [
        b'data: {"choices":[{"delta":{"content":"My n"}}]}\n\ndata: {"choi',
        'ces":[{"delta":{"content":"ame is Алиса"}}]}\n\n'.encode()[:-9],
        'ces":[{"delta":{"content":"ame is Алиса"}}]}\n\n'.encode()[-9:] + b"data: [DONE]\n\n",
    ]
    rule = Redaction(re.compile("name is Алиса"))
    new = rule.stream(chunks)
    whole = b"".join(new).decode()
    assert "Алиса" not in whole
    assert "ame" not in whole
    assert whole.count(REDACTED) == 1
    assert whole.endswith("data: [DONE]\n\n")
    assert len(new) == len(chunks)
    assert Redaction(re.compile("elsewhere")).stream(chunks) == chunks


def test_names_and_numbers_are_redacted_too() -> None:
    rule = Redaction(re.compile(r"\d{4}|a@b\.c"))
    value = {"a@b.c": [4711, 12, True, {"x": "to a@b.c"}], "n": 47.1123}
    assert rule.value(value) == {
        REDACTED: [REDACTED, 12, True, {"x": f"to {REDACTED}"}],
        "n": REDACTED,
    }


async def test_everything_of_an_owner_goes_and_nothing_of_others(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        for name in ("alice", "bob"):
            await say(runtime, "Hello", name)
            await say(runtime, "Again", name)
        assert len(cassette_files(tmp_path)) == 4
        alice = (await session_of(runtime, "alice")).principal
        await runtime.history.erase(alice)
        left = {file.parts[-3] for file in cassette_files(tmp_path)}
        bob = (await session_of(runtime, "bob")).principal
        assert left == {digest(bob.id)}


async def test_what_moves_to_an_account_goes_with_everything_of_the_account(
    tmp_path: Path,
) -> None:
    async with served(recording(tmp_path, openai_api_key=None)) as app:
        runtime = app.application.runtime
        await say(runtime, "Hello", "alice")
        await say(runtime, "Hello", "bob")
        visitor = (await session_of(runtime, "alice")).principal
        account = Principal("a" + "0" * 32, "account", login="login", name="alice")
        accounts = Accounts(runtime, app.application.events, ["s" * 32])
        holdings = await accounts.holdings(visitor)
        await accounts.sign_in(account, visitor, holdings.digest)
        owners = {file.parts[-3] for file in cassette_files(tmp_path)}
        bob = digest((await session_of(runtime, "bob")).principal.id)
        assert owners == {digest(account.id), bob}
        await runtime.history.forget(account)
        assert {file.parts[-3] for file in cassette_files(tmp_path)} == {bob}


async def test_the_clean_up_by_hand_counts_and_deletes_them_too(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        await say(runtime, "One")
    [file] = cassette_files(tmp_path)
    ago = time.time() - 11 * 86_400
    os.utime(file, (ago, ago))
    settings = {"CMW_RECORD": str(tmp_path / "cassettes"), "CMW_RETENTION_DAYS": "10"}
    done = await command(tmp_path, "cleanup", "--dry-run", **settings)
    assert "1 recordings older than CMW_RETENTION_DAYS would be deleted" in done.out
    assert file.exists()
    done = await command(tmp_path, "cleanup", **settings)
    assert "1 recordings older than CMW_RETENTION_DAYS were deleted" in done.out
    assert not file.exists()


async def test_a_conversation_s_cassettes_go_with_it(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        session = await session_of(runtime)
        first = session.conversation_id or ""
        await say(runtime, "One", conversation=first)
        await say(runtime, "Two")
        await runtime.history.delete(session.principal, first)
    assert [each.question for each in recorded(tmp_path)] == ["Two"]


async def test_an_answer_whose_conversation_is_gone_leaves_no_cassette(tmp_path: Path) -> None:
    async with OpenAIDouble() as endpoint:
        settings = recording(tmp_path, openai_base_url=endpoint.base_url, model="gated-1")
        async with running(settings) as runtime:
            session = await session_of(runtime)
            talking = asyncio.create_task(
                say(runtime, "Hello", conversation=session.conversation_id)
            )
            await endpoint.wait_held()
            # As another replica deletes it, which cannot stop this turn.
            await runtime.memory.forget(session.owner)
            endpoint.release_all()
            await talking
    assert not cassette_files(tmp_path)


async def test_cassettes_go_when_they_are_older_than_conversations_are_kept(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        await say(runtime, "One")
        await say(runtime, "Two")
        old, young = cassette_files(tmp_path)
        ago = time.time() - 11 * 86_400
        os.utime(old, (ago, ago))
        recorder = runtime.services.dependencies.recorder
        assert recorder is not None
        assert await recorder.sweep(0) == 0
        assert await recorder.sweep(10) == 1
    assert cassette_files(tmp_path) == [young]


async def test_what_has_no_room_is_left_out_and_said(tmp_path: Path) -> None:
    async with OpenAIDouble(rate=2_000) as endpoint:
        settings = recording(
            tmp_path, openai_base_url=endpoint.base_url, model="tokens-300", record_bytes=4_000
        )
        async with running(settings) as runtime:
            events = await say(runtime, "Hello")
    assert turn_end(events).outcome == "complete"
    [cassette] = recorded(tmp_path)
    assert cassette.left_out > 0
    assert cassette.path.stat().st_size < 20_000
    [replayed] = await again([cassette], tmp_path)
    assert replayed.is_same
    assert answer_text(events).startswith(replayed.text)


async def test_what_a_run_began_with_is_kept_whatever_room_there_is(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None, record_bytes=1_024)) as runtime:
        await say(runtime, "Hello " * 500)
    [cassette] = recorded(tmp_path)
    assert cassette.question == ("Hello " * 500).strip()


async def test_a_command_that_asks_no_model_leaves_nothing(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        await say(runtime, "/help")
    assert not cassette_files(tmp_path)


async def test_a_turn_that_cannot_be_recorded_is_answered_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        (tmp_path / "cassettes").rmdir()
        (tmp_path / "cassettes").write_text("in the way")
        assert turn_end(await say(runtime, "Hello")).outcome == "complete"
    assert "a turn was not recorded" in caplog.text


async def test_recordings_that_cannot_be_deleted_are_no_success(tmp_path: Path) -> None:
    async with running(recording(tmp_path, openai_api_key=None)) as runtime:
        await say(runtime, "Hello")
        owner = (await session_of(runtime)).principal
        place = tmp_path / "cassettes" / digest(owner.id)
        place.rename(tmp_path / "kept")
        place.write_text("in the way")
        with pytest.raises(UserError, match="cannot be deleted"):
            await runtime.history.forget(owner)


def test_a_recording_needs_an_owner(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, max_bytes=1_000, redact=None, facts={})
    with pytest.raises(ValueError, match="owner"):
        recorder.turn("")


def test_a_file_is_named_as_git_names_it(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_bytes(b"hello\n")
    assert git_hash(tmp_path / "agents.toml") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert git_hash(tmp_path / "none") is None
    assert sha1(b"blob 6\0hello\n", usedforsecurity=False).hexdigest().startswith("ce01362")


async def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings: Settings = recording(tmp_path, record=tmp_path / "file" / "below")
    with pytest.raises(Exception, match="CMW_RECORD must be a folder"):
        async with Runtime(settings).running():
            pass
