"""Every case by the interface in OpenAI's form: what a program reads, as a whole and streamed."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from tests.harness import canary
from tests.hostile.endpoints import cases
from tests.hostile.endpoints.case import Case
from tests.hostile.endpoints.house import KEY, House, Player, opened
from tests.rest import Reply, client

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Nothing is stored here, so that pictures become a note.
CASES = [case for case in cases.REPEATABLE if "picture" not in case.name]
FINISHES = {"stop": "stop", "length": "length", "content_filter": "content_filter",
            "missing": "stop"}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with opened(tmp_path_factory.mktemp("openai"), CASES) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def read(house: House) -> AsyncIterator[Player]:
    async with contextlib.aclosing(Player(partial(_read_whole, house), CASES)) as player:
        yield player


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def streamed(house: House) -> AsyncIterator[Player]:
    async with contextlib.aclosing(Player(partial(_read_stream, house), CASES)) as player:
        yield player


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_program_reads_a_whole_reply_as_what_it_is(read: Player, case: Case) -> None:
    await read.result(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_program_reads_a_streamed_reply_as_what_it_is(streamed: Player, case: Case) -> None:
    await streamed.result(case)


async def _ask(house: House, case: Case, *, stream: bool) -> Reply:
    secret = canary()
    content = {
        "model": case.name,
        "messages": [{"role": "user", "content": f"Please {secret}"}],
        "stream": stream,
    }
    async with client(house.app.url) as program, asyncio.timeout(60):
        reply = await program.ask("POST", "/v1/chat/completions", content)
    house.requests_of(case, secret)
    return reply


def _expected(case: Case) -> str | None:
    """Return the finish reason that a program reads; None where it reads an error."""
    if case.status == "failed" or (case.status == "interrupted" and case.finish is None):
        return None
    return FINISHES.get(str(case.finish))


async def _read_whole(house: House, case: Case) -> None:
    reply = await _ask(house, case, stream=False)
    finish = _expected(case)
    assert KEY not in reply.body.decode()
    if finish is None:
        assert reply.status >= 400
        assert case.notice.lower() in reply.json["error"]["message"].lower()
        return
    (choice,) = reply.json["choices"]
    assert choice["finish_reason"] == finish
    assert choice["message"]["content"] == case.text
    assert (choice["message"].get("reasoning_content") or "").strip() == (case.thinking or "")
    assert "tool_calls" not in choice["message"]


async def _read_stream(house: House, case: Case) -> None:
    reply = await _ask(house, case, stream=True)
    finish = _expected(case)
    assert KEY not in reply.body.decode()
    if reply.status != 200:
        assert finish is None
        assert case.notice.lower() in reply.json["error"]["message"].lower()
        return
    text, thinking, ends, errors = _read(reply.body)
    retracted = case.thinking or ""
    assert text == case.text or (retracted and text.endswith(case.text)), text
    if finish is None:
        assert (ends, len(errors)) == ([], 1)
        assert case.notice.lower() in errors[0].lower()
        return
    assert (ends, errors) == ([finish], [])
    assert thinking.strip() == (case.thinking or "")


def _read(body: bytes) -> tuple[str, str, list[str], list[str]]:
    texts, thoughts, ends, errors = [], [], [], []
    events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    for data in events:
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            errors.append(str(event["error"]["message"]))
            continue
        (choice,) = event["choices"]
        assert set(choice) <= {
            "index",
            "delta",
            "finish_reason",
            "logprobs",
            "native_finish_reason",
        }
        texts.append(choice["delta"].get("content") or "")
        thoughts.append(choice["delta"].get("reasoning_content") or "")
        ends += [choice["finish_reason"]] if choice["finish_reason"] else []
    return "".join(texts), "".join(thoughts), ends, errors
