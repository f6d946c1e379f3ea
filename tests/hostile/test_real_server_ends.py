"""How a real server's answers end: cut, blank, in mid-call, in thoughts; and what its templates refuse."""

from pathlib import Path

import pytest

from tests.harness import canary, last_text, served, settings_for, texts
from tests.logbook import error_id
from tests.ports import free_port
from tests.real_server.house import SOME_WORDS, WITHOUT_END, House, house
from tests.real_server.llama_server import KEY, Limits, started
from tests.real_server.random_model import END, THOUGHT_OVER, write_model
from tests.real_server.templates import BLANK, PLAIN, STRICT, THINKING, THINKING_RAW, TOOLS
from tests.rest import KEYS, client

pytestmark = pytest.mark.slow
THOUGHTS = {END: 1.0, THOUGHT_OVER: 2.0}


def check_notice(here: House, text: str) -> None:
    """Check that a sentence has an id that the log has."""
    assert len(here.book.naming(error_id(text))) == 1, text
    here.check_log()


async def test_an_answer_that_a_real_server_cut_at_its_limit_is_told(tmp_path: Path) -> None:
    secret, other = canary(), canary()
    async with house(tmp_path, PLAIN, WITHOUT_END, Limits(predict=9)) as here, here.page() as tab:
        reply = await here.program.say(f"Hello {secret}")
        assert reply.status == 200, reply.body
        assert len(reply.json["response"].split()) == 9
        assert reply.json["metadata"]["finish_reason"] == "length"
        assert reply.json["metadata"]["status"] == "interrupted"
        assert reply.json["metadata"]["notice"]
        event = await tab.send(f"Hello {other}")
        assert event.error is None
        check_notice(here, last_text(event.value))
        for answer in (here.stored(secret), here.stored(other)):
            assert (answer["status"], answer["finish_reason"]) == ("interrupted", "length")
            assert len(answer["content"].split()) == 9
            check_notice(here, f"error {answer['error_id']}")


async def test_a_real_server_s_blank_answer_is_a_failure(tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path, BLANK) as here, here.page() as tab:
        reply = await here.program.say(f"Hello {secret}")
        assert reply.status in (502, 503), reply.body
        check_notice(here, f"error {reply.json['error_id']}")
        assert here.stored(secret)["status"] == "failed"
        event = await tab.send("Hello")
        check_notice(here, last_text(event.value))


async def test_a_call_that_a_real_server_cut_at_its_limit_does_not_run(tmp_path: Path) -> None:
    secret = canary()
    async with house(tmp_path, TOOLS, WITHOUT_END, Limits(predict=24)) as here, here.page() as tab:
        reply = await here.program.say(f"Hello {secret}")
        assert reply.status in (502, 503), reply.body
        check_notice(here, f"error {reply.json['error_id']}")
        answer = here.stored(secret)
        assert answer["status"] == "failed"
        assert not any(call["ok"] for call in answer["tool_calls"])
        event = await tab.send("Hello")
        check_notice(here, last_text(event.value))


@pytest.mark.parametrize("template", [THINKING, THINKING_RAW], ids=["as fields", "in the text"])
async def test_a_real_server_s_thoughts_are_no_part_of_the_answer(
    template: str, tmp_path: Path
) -> None:
    """The model writes an answer after its thoughts, or ends in them, which is a failure."""
    async with house(tmp_path, template, THOUGHTS) as here:
        for _ in range(40):
            secret = canary()
            reply = await here.program.say(f"Hello {secret}")
            answer = here.stored(secret)
            if reply.status != 200:
                check_notice(here, f"error {reply.json['error_id']}")
            else:
                assert answer["content"] == reply.json["response"]
                assert answer["content"].strip()
                assert answer["thinking"] or template is THINKING_RAW
                assert not answer["content"].lstrip().startswith(THOUGHT_OVER)
            if reply.status == 200 and answer["thinking"]:
                break
        else:
            raise AssertionError("the model never wrote an answer after its thoughts")
        history = await here.program.at(reply.json["session_id"])
        assert history.json["messages"][1]["content"] == answer["content"]
        here.check_log()


async def test_a_real_server_whose_template_knows_no_system_role_answers(tmp_path: Path) -> None:
    secrets = [canary() for _ in range(3)]
    async with house(tmp_path, STRICT) as here, here.page() as tab:
        for number, secret in enumerate(secrets, 1):
            event = await tab.send(f"Hello {secret} {'and more ' * 8}")
            assert event.error is None
            assert len(texts(event.value, "assistant")) == number
            answer = here.stored(secret)
            assert answer["status"] == "complete"
            assert answer["content"].strip()
        reply = await here.program.say("Hello")
        assert reply.status == 200, reply.body
        assert reply.json["response"].strip()
        # Asked once more for the first message alone; what the server refuses is remembered.
        assert len([line for line in here.book.lines if "the system role" in line]) == 1
        here.check_log()


async def test_a_conversation_goes_on_after_a_failed_turn_where_roles_must_alternate(
    tmp_path: Path,
) -> None:
    """The server is down for the first message, so that two of the user's follow each other."""
    port, text = free_port(), f"Hello {'and more ' * 8}"
    write_model(tmp_path / "random.gguf", STRICT, SOME_WORDS)
    settings = settings_for(
        tmp_path,
        openai_base_url=f"http://127.0.0.1:{port}/v1",
        openai_api_key=KEY,
        model="random",
        api_keys=KEYS,
    )
    async with served(settings) as app, client(app.url) as program:
        assert (await program.say(text, "mine")).status in (502, 503)
        async with started(tmp_path / "random.gguf", Limits(), port):
            for _ in range(2):
                reply = await program.say(text, "mine")
                assert reply.status == 200, reply.body
                assert reply.json["response"].strip()
