"""The library `datasets` reads what the app writes as a dataset: each column as it was written."""

import asyncio
import io
import json
import os
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from cmw_agent.conversations.datasets import CARD, DATA, dataset_card
from cmw_agent.server.build import Parts
from tests.clients.test_litellm import PYTHON
from tests.harness import WAIT, Browser
from tests.isolation.test_datasets import written
from tests.isolation.test_history import chatted, get, post
from tests.isolation.test_rated_answers import consent
from tests.isolation.world import app_with_model
from tests.unit.test_admin import Namer
from tests.unit.test_commands import run

SAID = 'Wie spät? — 2026-01-01 «сколько» 今 🕰\u200d \u2028 "\\"'
WHY = {"rating": "dislike", "reason": "not_complete", "comment": "zu kurz 😀\nпочему"}


async def loaded(home: Path, *folders: Path) -> list[dict[str, Any]]:
    """Return what the library reads of datasets' folders; `home` is for what it stores."""
    assert PYTHON.exists(), "run `make programs` first: it installs the clients' environment"
    program = await asyncio.create_subprocess_exec(
        PYTHON,
        Path(__file__).with_name("loading.py"),
        *folders,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "HF_HUB_OFFLINE": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT * 3):
        out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]


def expected(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that a dataset's folder holds, with times as `loading` prints them."""
    rows = written(folder)
    for row in rows:
        for each, name in [(row, "started_at"), *((one, "created_at") for one in row["versions"])]:
            each[name] = datetime.fromisoformat(each[name]).isoformat()
    return rows


def without_messages(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write a dataset of these conversations as if their messages were deleted while they were read."""
    (folder / DATA).parent.mkdir(parents=True)
    (folder / CARD).write_bytes(dataset_card())
    hollow = [json.dumps({**row, "messages": [], "versions": []}) for row in rows]
    (folder / DATA).write_text("".join(f"{line}\n" for line in hollow))


async def test_the_library_reads_each_column_as_it_was_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with (
        app_with_model(
            data,
            'tool:calculate:{"expression": "6*7"}',
            parts=Parts(runtime=Namer),
            admins="root",
        ) as here,
        Browser(here.url) as alice,
    ):
        tab, rated = await chatted(alice, SAID)
        assert (await tab.run("retry", ["1"])).error is None
        assert (await post(alice, "history/rating", {"id": rated, "seq": 2, **WHY}))[0] == 200
        await consent(alice, True)
        await tab.run("new_chat", [])
        assert (await tab.send("2026-01-01")).error is None
        _, archive = await get(alice, "history/everything", format="dataset")
    own, operators, hollow = (tmp_path / name for name in ("own", "operators", "hollow"))
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        found.extractall(own)
    done = await run(data, "dataset", str(operators), CMW_ADMINS="root")
    assert done.code == 0, done.err
    without_messages(hollow, written(own))
    folders = own, operators, hollow
    read = await loaded(tmp_path, *folders)
    assert [each["rows"] for each in read] == [expected(folder) for folder in folders]
    (columns,) = {each["columns"] for each in read}  # whatever the rows are
    assert columns.count("timestamp[us, tz=UTC]") == 2
    (row,) = read[1]["rows"]
    question, answer, again = row["versions"]
    assert (question["content"], answer["rating_comment"]) == (SAID, WHY["comment"])
    assert (question["tools"], again["rating"]) == ([], None)
    assert answer["input_tokens"] > 0
