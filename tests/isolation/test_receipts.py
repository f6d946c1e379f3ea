"""A message that its page sends again is answered once, and only for its owner."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.harness import Browser, Event, Tab, canary, last_text, texts
from tests.isolation.world import Following, app_with_model

KEY = "k" * 32


def receipt(event: Event) -> dict[str, Any]:
    """Return the receipt that a message got first."""
    values = [value[2] for value in event.values if isinstance(value[2], str)]
    found: dict[str, Any] = orjson.loads(values[0])
    return found


async def test_a_first_message_sent_again_from_another_page_begins_no_second_conversation(
    tmp_path: Path,
) -> None:
    text = canary()
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        tabs = [await browser.open() for _ in range(3)]
        events = [await tab.send(text, KEY) for tab in tabs]
        (conversation,) = here.rows()["agent_sessions"]
        assert [receipt(event) for event in events] == [
            {"key": KEY, "conversation": conversation["session_id"]}
        ] * 3
        for event in events:
            assert texts(event.value, "user") == [text]
            assert last_text(event.value) == f"You said: {text}"
        assert len(here.endpoint.matching(text)) == 1
        assert len(here.rows()["agent_turns"]) == 1
        another = await tabs[0].send("and on", "another key")
        assert receipt(another)["conversation"] == conversation["session_id"]


async def test_the_same_key_of_another_owner_begins_a_conversation_of_its_own(
    tmp_path: Path,
) -> None:
    hers, his = canary(), canary()
    async with app_with_model(tmp_path) as here, Browser(here.url) as a, Browser(here.url) as b:
        first, second = await a.open(), await b.open()
        for tab, text in ((first, hers), (second, his)):
            assert last_text((await tab.send(text, KEY)).value) == f"You said: {text}"
        assert hers.encode() not in second.received
        conversations = here.rows()["agent_sessions"]
        assert len({row["session_id"] for row in conversations}) == 2
        assert len({row["owner_id"] for row in conversations}) == 2


async def test_a_message_that_comes_while_an_answer_runs_is_postponed_and_not_stored(
    tmp_path: Path,
) -> None:
    first, second = canary(), canary()
    async with app_with_model(tmp_path, "gated-1") as here, Browser(here.url) as browser:
        one = await browser.open()
        async with Following(one, await one.join("send", [first, KEY, "", None])) as stream:
            await here.endpoint.wait_held(first)
            conversation = here.rows()["agent_sessions"][0]["session_id"]
            two: Tab = await browser.open(query=f"?c={conversation}")
            event = await two.send(second, "another key")
            assert event.error is None
            assert receipt(event).keys() == {"key", "seconds", "sentence"}
            assert not [row for row in here.rows()["agent_messages"] if row["content"] == second]
            here.endpoint.release(first)
            await stream.done()


@pytest.mark.parametrize("command", ["/new", "/NEW"])
async def test_a_control_command_is_carried_out_and_leaves_the_outbox(
    command: str, tmp_path: Path
) -> None:
    async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
        event = await (await browser.open()).send(command, KEY)
        assert receipt(event) == {"key": KEY, "conversation": None}
        assert here.rows()["agent_messages"] == []
