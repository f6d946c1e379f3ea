"""Every case, by the REST interface and by the page: what is shown, stored and sent next."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.doubles.raw_endpoint import RawEndpoint, RawRequest
from tests.harness import Browser, Served, canary, last_text, served, settings_for, texts
from tests.hostile.endpoints import (
    calls,
    dialects,
    ends,
    further_calls,
    further_ends,
    further_reading,
    further_refusals,
    further_thinking,
    reading,
    refusals,
    thinking,
)
from tests.hostile.endpoints.case import Case
from tests.logbook import Logbook, logbook
from tests.rest import KEYS, client
from tests.rows import messages

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULES = (
    ends,
    calls,
    thinking,
    refusals,
    reading,
    dialects,
    further_ends,
    further_calls,
    further_thinking,
    further_reading,
    further_refusals,
)
PAGES = [case for module in MODULES for case in module.CASES]
CASES = [*PAGES, *further_refusals.ONCE]
KEY = "sk-secret-of-the-app"
NEXT = "And now?"
QUESTIONS = (["user", "user"], ["user"])  # two, or one where a model's template wants that


@dataclass
class House:
    """The app, the endpoint behind it, and what it logged."""

    app: Served
    endpoint: RawEndpoint
    book: Logbook
    folder: Path


def _agents() -> str:
    lines = (f'[[agents]]\nid = "{case.name}"\nmodel = "{case.name}"\n' for case in CASES)
    return "\n".join(lines)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """The app with an agent and a model for each case."""
    folder = tmp_path_factory.mktemp("replies")
    (folder / "agents.toml").write_text(_agents(), encoding="utf-8")
    replies = {case.name: case.replies for case in CASES}
    learned = {case.name: case.learns for case in CASES}
    with logbook() as book:
        async with RawEndpoint(replies, learned) as endpoint:
            settings = settings_for(
                folder,
                openai_base_url=endpoint.base_url,
                openai_api_key=KEY,
                model="default",
                models=tuple(case.name for case in CASES),
                api_keys=KEYS,
            )
            async with served(settings) as app:
                yield House(app, endpoint, book, folder)


def _stored(house: House, secret: str) -> dict[str, Any]:
    """Return the answer to the message that holds `secret`."""
    rows = messages(house.folder, secret)
    (question,) = (row for row in rows if secret in row["content"] and row["role"] == "user")
    return next(row for row in rows if row["seq"] == question["seq"] + 1)


def _check_stored(house: House, case: Case, secret: str) -> None:
    answer = _stored(house, secret)
    assert (answer["status"], answer["content"]) == (case.status, case.text)
    assert answer["finish_reason"] == case.finish
    if case.text or case.thinking:
        assert answer["tokens_used"], "what came is charged"
    assert (answer["thinking"] or "").strip() == (case.thinking or "")
    calls = json.loads(answer["tool_calls"] or "[]")
    ran = [(call["name"], call["ok"]) for call in calls if call["ok"]]
    assert ran == [call for call in case.tools if call[1]]


def _check_log(house: House) -> None:
    assert KEY not in house.book.text
    assert house.book.unhandled == []


def _check_next(case: Case, request: RawRequest) -> None:
    """Check what the model sees in the turn after."""
    conversation = [m for m in request.body["messages"] if m["role"] != "system"]
    roles = [message["role"] for message in conversation]
    assert roles == ["user", "assistant", "user"] or (not case.text and roles in QUESTIONS)
    answers = [m["content"] for m in conversation if m["role"] == "assistant"]
    assert answers == ([case.text] if case.text else [])
    if case.thinking:
        assert case.thinking not in json.dumps(request.body)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_reply_reaches_rest_as_what_it_is(house: House, case: Case) -> None:
    secret = canary()
    async with client(house.app.url, agent=case.name) as program:
        reply = await program.say(f"Please {secret}", "mine-" + secret)
        if case.status == "failed":
            assert reply.status in (502, 503), reply.body
            sentence = reply.json["detail"]
            assert reply.json["error_id"]
        else:
            assert reply.status == 200, reply.body
            assert reply.json["response"] == case.text
            metadata = reply.json["metadata"]
            assert metadata["status"] == case.status
            assert metadata["finish_reason"] == case.finish
            sentence = metadata.get("notice") or ""
            assert bool(sentence) == (case.status != "complete")
            if sentence:
                assert len(house.book.naming(metadata["error_id"])) == 1
        assert case.notice.lower() in sentence.lower()
        asked = house.endpoint.naming(secret)
        assert len(asked) == case.requests
        if case.check is not None:
            case.check(asked)
        _check_stored(house, case, secret)
        await program.say(NEXT, "mine-" + secret)
    following = [r for r in house.endpoint.naming(secret) if NEXT in r.last_user]
    _check_next(case, following[0])
    _check_log(house)


@pytest.mark.parametrize("case", PAGES, ids=lambda case: case.name)
async def test_a_reply_reaches_the_page_as_what_it_is(house: House, case: Case) -> None:
    secret = canary()
    async with Browser(house.app.url) as browser, asyncio.timeout(60):
        tab = browser.tab(query=f"?agent={case.name}")
        await tab.open()
        event = await tab.send(f"Please {secret}")
        assert event.error is None
        shown = texts(event.value, "assistant")
        for paragraph in filter(None, case.text.split("\n\n")):
            assert any(paragraph in text for text in shown)
        asked = house.endpoint.naming(secret)
        assert len(asked) in (case.requests, case.requests - case.learns)
        if case.status != "complete":
            assert case.notice.lower() in last_text(event.value).lower()
            assert "error `" in last_text(event.value)
        for text in shown:
            for mark in ("<think", "tool_call>"):
                assert mark not in text or mark in case.text or mark in (case.thinking or "")
    _check_stored(house, case, secret)
    _check_log(house)
