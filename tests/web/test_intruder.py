"""Somebody who knows another's session hash and conversation id gets nothing of theirs."""

from typing import Any

import pytest
from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.harness import Served, canary
from tests.web.chat_page import HELD, ChatPage
from tests.web.conftest import People

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Reads for a while, as an attacker's script would; a stream that stays silent is cut off.
READ = """async ([path, milliseconds]) => {
    const stop = AbortSignal.timeout(milliseconds);
    let body = "";
    try {
        const answer = await fetch(path, { signal: stop });
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part; !(part = await reader.read()).done;) body += part.value;
    } catch (error) { if (!stop.aborted) throw error; }
    return body;
}"""
POST = """async ([path, body]) => {
    const answer = await fetch(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
    });
    return await answer.text();
}"""


async def _read(page: ChatPage, path: str) -> str:
    return str(await page.frame.evaluate(READ, [f"gradio_api/{path}", 500]))


async def _post(page: ChatPage, path: str, body: dict[str, Any]) -> str:
    return str(await page.frame.evaluate(POST, [f"gradio_api/{path}", body]))


async def test_anothers_hash_and_conversation_open_nothing(
    app: Served, model: OpenAIDouble, people: People
) -> None:
    alice, bob = await people.open(app), await people.open(app)
    functions = {fn.api_name: index for index, fn in app.application.demo.fns.items()}
    secret = canary()
    await alice.write(f"[gated-3] {secret} is mine")
    await model.wait_held(secret)
    await expect(alice.answers).to_have_text([HELD])
    stolen, conversation = alice.session_hash, await alice.named()
    assert stolen != bob.session_hash

    people.watch.expects("http 404: .*/cancel", "status of 404")
    taken = await _read(bob, f"queue/data?session_hash={stolen}")
    taken += await _read(bob, f"heartbeat/{stolen}")
    for name, data in (
        ("send", ["I am Alice now", "key", "", None]),
        ("stop", []),
        ("new_chat", []),
    ):
        body = {"fn_index": functions[name], "data": data, "session_hash": stolen}
        taken += await _post(bob, f"queue/join?c={conversation}", body)
        taken += await _read(bob, f"queue/data?session_hash={stolen}")
    taken += await _post(bob, "cancel", {"session_hash": stolen, "event_id": "any"})
    assert secret not in taken
    assert conversation not in taken

    model.release(secret)  # her answer still runs, and nothing of his came between
    await expect(alice.answers).to_have_text([f"You said: [gated-3] {secret} is mine"])
    await alice.settled()
    await alice.reload()
    await expect(alice.questions).to_have_text([f"[gated-3] {secret} is mine"])
    await expect(alice.answers).to_have_text([f"You said: [gated-3] {secret} is mine"])
    await expect(alice.recent.get_by_role("link")).to_have_count(1)
    await bob.reload()
    await expect(bob.recent).not_to_contain_text(secret)
    for request in model.matching("I am Alice now"):
        assert secret not in str(request.messages)
