"""Datasets: of one's own conversations, and for the operator of those whose owners agreed.

What is written is compared with what its card says of it, as the library `datasets` does.
"""

import asyncio
import io
import json
import os
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmw_agent.conversations.datasets import CARD, DATA
from tests.harness import Browser, canary
from tests.isolation.test_history import chatted, get, post
from tests.isolation.test_rated_answers import consent, rated
from tests.isolation.world import app_with_model
from tests.rest import KEYS, client
from tests.rows import rows
from tests.unit.test_admin import Namer, app
from tests.unit.test_commands import run

TYPES = {"string": str, "int64": int, "bool": bool, "timestamp[us, tz=UTC]": str}


def front_matter(card: str) -> dict[str, Any]:
    """Return what a card says before its text."""
    before, written, _ = card.split("---\n", 2)
    assert before == ""
    found: dict[str, Any] = yaml.safe_load(written)
    return found


def check_columns(record: dict[str, Any], columns: list[dict[str, Any]]) -> None:
    """Fail unless a record has these columns, each with values of its type, and no other."""
    assert list(record) == [column["name"] for column in columns]
    for column in columns:
        value = record[column["name"]]
        if "list" in column:
            for item in value:
                check_columns(item, column["list"])
        elif value is not None:
            assert type(value) is TYPES[column["dtype"]], column
            if column["dtype"].startswith("timestamp"):
                assert datetime.fromisoformat(str(value)).utcoffset() == timedelta(0)


def checked_lines(card: str, data: str) -> list[dict[str, Any]]:
    """Return the lines of a dataset that are as its card says."""
    front = front_matter(card)
    (config,) = front["configs"]
    assert config == {
        "config_name": "conversations",
        "data_files": [{"split": "train", "path": "data/train.jsonl"}],
    }
    assert front["dataset_info"]["config_name"] == config["config_name"]
    lines = [json.loads(line) for line in data.split("\n") if line]
    for line in lines:
        check_columns(line, front["dataset_info"]["features"])
    return lines


def unpacked(archive: bytes) -> list[dict[str, Any]]:
    """Return the lines of the dataset in an archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        assert found.namelist() == [CARD, DATA]
        return checked_lines(found.read(CARD).decode(), found.read(DATA).decode())


async def test_one_s_own_dataset_has_versions_ratings_tools_and_tokens(tmp_path: Path) -> None:
    secret = canary()
    async with (
        app_with_model(tmp_path, 'tool:calculate:{"expression": "6*7"}') as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
    ):
        await chatted(bob, secret)
        tab, hers = await chatted(alice, "six times seven")
        assert (await tab.run("retry", ["1"])).error is None
        why = {"rating": "dislike", "reason": "not_complete", "comment": "why?"}
        assert (await post(alice, "history/rating", {"id": hers, "seq": 2, **why}))[0] == 200
        status, archive = await get(alice, "history/everything", format="dataset")
        assert status == 200
        assert await get(bob, "history/export", id=hers, format="dataset") == await get(
            bob, "history/export", id="none", format="dataset"
        )
        (line,) = unpacked(archive)
        (same,) = unpacked((await get(alice, "history/export", id=hers, format="dataset"))[1])
    assert line == same
    assert (line["id"], line["agent"], line["channel"]) == (hers, "assistant", "web")
    assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
    first, answer, again = line["versions"]
    assert (first["shown"], answer["shown"], again["shown"]) == (True, False, True)
    assert (first["parent_seq"], answer["parent_seq"], again["parent_seq"]) == (None, 1, 1)
    assert (answer["rating"], answer["rating_reason"], answer["rating_comment"]) == tuple(
        why.values()
    )
    assert again["rating"] is None
    (tool,) = answer["tools"]
    assert (tool["name"], json.loads(tool["arguments"])) == ("calculate", {"expression": "6*7"})
    assert answer["input_tokens"] > 0
    assert secret not in str(line)


async def test_a_key_saves_its_session_s_conversation_as_a_dataset(tmp_path: Path) -> None:
    async with app_with_model(tmp_path, "memory", api_keys=KEYS) as here, client(here.url) as shop:
        await shop.say("My name is Alice", "mine")
        path = "/api/chat/assistant/sessions"
        saved = await shop.ask("GET", f"{path}/mine/export?format=dataset")
        assert saved.headers["Content-Disposition"] == (
            'attachment; filename="conversation.dataset.zip"'
        )
        (line,) = unpacked(saved.body)
        assert line["messages"][0] == {"role": "user", "content": "My name is Alice"}
        assert (await shop.ask("GET", f"{path}/none/export?format=dataset")).status == 404


def written(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a dataset's folder."""
    return checked_lines((folder / CARD).read_text("utf-8"), (folder / DATA).read_text("utf-8"))


@pytest.fixture
async def stored(tmp_path: Path) -> tuple[str, str]:
    """Alice agrees, Bob does not, and Carol has taken it back; each has rated an answer.

    Returns:
        Alice's question, and what nobody else is to read.
    """
    said, secret = canary(), canary()
    (tmp_path / "data").mkdir()
    async with (
        app(tmp_path / "data", Namer) as here,
        Browser(here.url) as alice,
        Browser(here.url) as bob,
        Browser(here.url) as carol,
    ):
        await chatted(alice, f"{secret} not rated")
        tab = await alice.open()
        assert (await tab.send(said)).error is None
        (newest, *_) = json.loads((await get(alice, "history"))[1])["conversations"]
        await post(alice, "history/rating", {"id": newest["id"], "seq": 2, "rating": "like"})
        await consent(alice, True)
        await rated(bob, f"{secret} bob")
        await rated(carol, f"{secret} carol")
        await consent(carol, True)
        await consent(carol, False)
    return said, secret


async def test_the_operator_s_dataset_holds_rated_conversations_of_who_agreed_alone(
    stored: tuple[str, str], tmp_path: Path
) -> None:
    said, secret = stored
    folder, data = tmp_path / "dataset", tmp_path / "data"
    done = await run(data, "dataset", str(folder), CMW_ADMINS="root")
    assert (done.code, done.out) == (0, f"{folder} holds 1 conversation\n"), done.err
    (line,) = written(folder)
    assert line["messages"][0]["content"] == said
    text = (folder / DATA).read_text("utf-8")
    assert secret not in text
    for row in rows(data, "SELECT owner_id, session_id FROM agent_sessions"):
        assert row["owner_id"] not in text
        assert row["session_id"] not in text
    assert {path.stat().st_mode & 0o77 for path in (folder, folder / CARD, folder / DATA)} == {0}


async def test_a_dataset_replaces_no_folder_and_needs_somebody_whom_users_were_told_of(
    stored: tuple[str, str], tmp_path: Path
) -> None:
    assert stored
    (tmp_path / "there").mkdir()
    for folder, admins, reason in (
        ("there", "root", "is there"),
        ("new", "", "CMW_ADMINS is empty"),
    ):
        done = await run(tmp_path / "data", "dataset", str(tmp_path / folder), CMW_ADMINS=admins)
        assert done.code == 2
        assert reason in done.err
    assert await asyncio.to_thread(os.listdir, tmp_path) in (["data", "there"], ["there", "data"])
