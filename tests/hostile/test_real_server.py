"""A real server behind the app: llama.cpp's, with a model of random weights."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from tests.harness import WAIT, Event, Tab, canary, last_text, texts
from tests.logbook import error_id
from tests.real_server.house import WITHOUT_END, House, house
from tests.real_server.llama_server import Limits
from tests.real_server.random_model import BYTES, END, WORDS
from tests.real_server.templates import PLAIN, TOOLS

pytestmark = pytest.mark.slow
ENDLESS = Limits(predict=-1, context=100_000, slots=1)


def check_sentence(here: House, told: str) -> None:
    """Check that a failure is one sentence with an id that the log has."""
    assert len(here.book.naming(error_id(told))) == 1
    assert here.server.url not in told
    here.check_log()


async def first_words(tab: Tab, event: Event) -> None:
    """Read the event until the answer has begun."""
    async with contextlib.aclosing(tab.follow(event)) as updates:  # type: ignore[type-var]
        async for _ in updates:
            if not set(WORDS).isdisjoint(last_text(event.value).split()):
                return


async def test_a_real_server_s_answers_are_stored_and_counted_as_it_counts_them(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, PLAIN) as here:
        for _ in range(3):
            secret = canary()
            before = await here.server.counted()
            reply = await here.program.say(f"Hello {secret}", "mine")
            assert reply.status == 200, reply.body
            assert reply.json["response"].strip()
            assert reply.json["metadata"]["status"] == "complete"
            answer = here.stored(secret)
            assert (answer["content"], answer["status"]) == (reply.json["response"], "complete")
            after = await here.server.counted()
            spent = (answer["input_tokens"], answer["output_tokens"])
            assert spent == (after[0] - before[0], after[1] - before[1])
            assert not answer["tokens_estimated"]
            assert reply.json["metadata"]["tokens"] == sum(spent)
        here.check_log()


async def test_a_real_server_s_answer_grows_on_the_page_into_what_is_stored(
    tmp_path: Path,
) -> None:
    secret = canary()
    async with house(tmp_path, PLAIN, WITHOUT_END) as here, here.page() as tab:
        event = await tab.send(f"Hello {secret}")
        assert event.error is None
        answer = here.stored(secret)
        assert len(answer["content"].split()) == 200
        assert texts(event.value, "assistant")[0].strip() == answer["content"].strip()
        here.check_log()


async def test_many_users_share_a_real_server_s_two_slots(tmp_path: Path) -> None:
    secrets = [canary() for _ in range(12)]
    async with house(tmp_path, PLAIN) as here:
        replies = await asyncio.gather(
            *(here.program.say(f"Hello {secret}", secret) for secret in secrets)
        )
        assert [reply.status for reply in replies] == [200] * 12
        for secret, reply in zip(secrets, replies, strict=True):
            assert here.stored(secret)["content"] == reply.json["response"] != ""
        here.check_log()


async def test_a_call_that_a_real_server_s_grammar_forces_runs_and_its_result_goes_back(
    tmp_path: Path,
) -> None:
    secret = canary()
    # Its grammar may force many calls, and the app makes 25.
    async with house(tmp_path, TOOLS, limits=Limits(predict=3000)) as here:
        before = await here.server.counted()
        reply = await here.program.say(f"Hello {secret}")
        assert reply.status == 200, reply.body
        names = sorted(tool["name"] for tool in reply.json["metadata"]["tools"])
        assert names
        answer = here.stored(secret)
        assert sorted(call["name"] for call in answer["tool_calls"]) == names
        assert all(isinstance(call["arguments"], dict) for call in answer["tool_calls"])
        assert all(call["result"] for call in answer["tool_calls"])
        assert answer["content"] == reply.json["response"]
        assert answer["content"].strip()
        assert "tool_call>" not in answer["content"]
        after = await here.server.counted()  # of two requests
        spent = (answer["input_tokens"], answer["output_tokens"])
        assert spent == (after[0] - before[0], after[1] - before[1])
        again = await here.program.say("And now?", reply.json["session_id"])
        assert again.status == 200, again.body
        here.check_log()


async def test_a_prompt_beyond_a_real_server_s_context_is_a_sentence(tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path, PLAIN, limits=Limits(context=1024)) as here, here.page() as tab:
        reply = await here.program.say(f"{secret} {'long ' * 500}")
        assert reply.status in (400, 413, 502, 503), reply.body
        assert here.stored(secret)["status"] == "failed"
        assert "longer than the model can read" in reply.json["detail"]
        check_sentence(here, f"error {reply.json['error_id']}")
        event = await tab.send("long " * 500)
        assert event.error is None
        check_sentence(here, last_text(event.value))
        await tab.run("new_chat", [])
        assert texts((await tab.send("short")).value, "assistant")[-1].strip()


async def test_a_wrong_key_for_a_real_server_is_a_sentence(tmp_path: Path) -> None:
    async with house(tmp_path, PLAIN, openai_api_key="wrong") as here, here.page() as tab:
        event = await tab.send("Hello")
        assert "key" in last_text(event.value)
        check_sentence(here, last_text(event.value))


async def test_stop_frees_a_real_server_s_slot(tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path, PLAIN, WITHOUT_END, ENDLESS) as here, here.page() as tab:
        event = Event(await tab.join("send", [f"Hello {secret}", "", "", None]))
        async with asyncio.timeout(WAIT):
            await first_words(tab, event)
            await here.server.wait_busy(1)
            await tab.join("stop", [])
        await here.server.wait_busy(0)
        assert here.server.process.returncode is None
        here.check_log()


async def test_a_client_that_leaves_frees_a_real_server_s_slot(tmp_path: Path) -> None:
    async with house(tmp_path, PLAIN, WITHOUT_END, ENDLESS) as here:
        leaving = asyncio.create_task(here.program.say("Hello"))
        await here.server.wait_busy(1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await here.server.wait_busy(0)
        here.check_log()


async def test_a_real_server_that_dies_in_an_answer_is_a_sentence(tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path, PLAIN, WITHOUT_END, ENDLESS) as here, here.page() as tab:
        event = Event(await tab.join("send", [f"Hello {secret}", "", "", None]))
        async with asyncio.timeout(WAIT):
            await first_words(tab, event)
            here.server.process.kill()
            async for _ in tab.follow(event):
                pass
        check_sentence(here, last_text(event.value))
        assert here.stored(secret)["status"] == "interrupted"
        event = await tab.send("And now?")
        check_sentence(here, last_text(event.value))


async def test_any_bytes_of_a_real_server_are_an_answer_or_a_sentence(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, control characters, NUL, and characters split over tokens."""
    async with house(tmp_path, PLAIN, {END: 2, **dict.fromkeys(BYTES, 1.0)}) as here:
        for _ in range(8):
            secret = canary()
            reply = await here.program.say(f"Hello {secret}")
            answer = here.stored(secret)
            if reply.status == 200:
                assert reply.json["response"] == answer["content"]
                json.dumps(reply.json).encode()
            else:
                check_sentence(here, f"error {reply.json['error_id']}")
        here.check_log()
