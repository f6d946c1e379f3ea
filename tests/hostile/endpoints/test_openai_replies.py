"""Every case by the interface in OpenAI's form: what a program reads, as a whole and streamed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.doubles.raw_endpoint import RawEndpoint
from tests.harness import canary, served, settings_for
from tests.hostile.endpoints.case import Case
from tests.hostile.endpoints.test_replies import KEY, PAGES, House
from tests.logbook import logbook
from tests.rest import KEYS, Reply, client

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Nothing is stored here, so that pictures become a note; and what ends after all tries, which take
# seconds, ends as after the first one.
CASES = [
    case
    for case in PAGES
    if "picture" not in case.name and not (case.requests > 2 and case.status == "failed")
]
FINISHES = {"stop": "stop", "length": "length", "content_filter": "content_filter",
            "missing": "stop"}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """The app with a model for each case, of which nothing is kept."""
    folder: Path = tmp_path_factory.mktemp("openai")
    replies = {case.name: case.replies for case in CASES}
    learned = {case.name: case.learns for case in CASES}
    with logbook() as book:
        async with RawEndpoint(replies, learned) as endpoint:
            settings = settings_for(
                folder,
                openai_base_url=endpoint.base_url,
                openai_api_key=KEY,
                model="default",
                models=tuple(replies),
                api_keys=KEYS,
            )
            async with served(settings) as app:
                yield House(app, endpoint, book, folder)


async def _ask(house: House, case: Case, *, stream: bool) -> Reply:
    content = {
        "model": case.name,
        "messages": [{"role": "user", "content": f"Please {canary()}"}],
        "stream": stream,
    }
    async with client(house.app.url) as program, asyncio.timeout(30):
        return await program.ask("POST", "/v1/chat/completions", content)


def _expected(case: Case) -> str | None:
    """Return the finish reason that a program reads; None where it reads an error."""
    if case.status == "failed" or (case.status == "interrupted" and case.finish is None):
        return None
    return FINISHES.get(str(case.finish))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_program_reads_a_whole_reply_as_what_it_is(house: House, case: Case) -> None:
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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_program_reads_a_streamed_reply_as_what_it_is(house: House, case: Case) -> None:
    reply = await _ask(house, case, stream=True)
    finish = _expected(case)
    if reply.status != 200:
        assert finish is None
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
