"""Isolation on WhatsApp: senders of one name, and one sender in a group and in private."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cmw_agent.channels.whatsapp.answering import owner_of
from cmw_agent.channels.whatsapp.approvals import FAILED
from cmw_agent.identity.principals import Principal
from cmw_agent.tools.composio.accounts import ConnectionUser
from tests.accounts import TICKET, connected
from tests.doubles.composio_server import Composio, composio_server
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.whatsapp_bridge import Bridge, whatsapp_bridge
from tests.harness import Served, canary, served
from tests.isolation.toolhouse import obedient
from tests.phones import GROUP, deliver, in_group, message, parsed, settled, whatsapp_settings
from tests.rows import count, rows
from tests.scheduled import FakeClock, RecordingObserver, run_due, scheduler_of
from tests.service import wait_until

KIM, LEE = "491511@c.us", "491522@c.us"


@dataclass(slots=True)
class Place:
    """An app on WhatsApp, with connected tools, in two processes."""

    here: Served
    there: Served
    folder: Path
    bridge: Bridge
    composio: Composio
    endpoint: OpenAIDouble
    http: aiohttp.ClientSession

    async def says(self, body: dict[str, Any], url: str = "") -> None:
        assert (await deliver(self.http, url or self.here.url, body))[0] == 200

    async def hears(self, chat: str, count: int) -> list[str]:
        """Wait until so many texts came in a chat; return them."""
        while len(self.bridge.texts(chat)) < count:
            await self.bridge.until(len(self.bridge.delivered) + 1)
        return self.bridge.texts(chat)

    async def is_asked(self, chat: str, count: int) -> list[str]:
        """Wait until so many texts came, and until they count as sent: only then one answers."""
        heard = await self.hears(chat, count)
        under_way = "SELECT * FROM channel_sends WHERE state IN ('pending', 'sending')"
        await wait_until(lambda: not rows(self.folder, under_way))
        return heard

    async def runs_what_is_due(self, hands: FakeClock) -> None:
        """Let what is due by the hands' time run, and its answers go out."""
        runtime = self.here.application.runtime
        await run_due(scheduler_of(runtime, hands, RecordingObserver(), deliver=runtime.deliver))

    async def connect(self, body: dict[str, Any]) -> str:
        """Give whoever has sent this a connected account."""
        return await connected(self.here, self.composio, sender_of(body).id)

    def ran(self) -> list[tuple[str, Any]]:
        """Which tools ran, and for whom."""
        calls = self.composio.to("POST /tools/execute/")
        return [(call.body["user_id"], call.body["arguments"]) for call in calls]


@contextlib.asynccontextmanager
async def place(folder: Path, **changes: Any) -> AsyncIterator[Place]:
    async with (
        whatsapp_bridge() as bridge,
        composio_server() as composio,
        OpenAIDouble(scripts={"obedient": obedient}) as endpoint,
        aiohttp.ClientSession() as http,
    ):
        values: dict[str, Any] = {
            "openai_base_url": endpoint.base_url,
            "model": "obedient",
            "composio_api_key": composio.key,
            "composio_base_url": composio.url,
            "toolkits": "asana",
        }
        settings = whatsapp_settings(folder, bridge, **(values | changes))
        async with served(settings) as here, served(settings) as there:
            yield Place(here, there, folder, bridge, composio, endpoint, http)


def code_in(question: str) -> str:
    """The code that the answer to a question must name."""
    (found,) = re.findall(r"\n\nReply \*yes (\w{3})\* or \*no \1\*\.\Z", question)
    return str(found)


def sender_of(body: dict[str, Any]) -> Principal:
    """Who has sent this."""
    (found,) = parsed(body)
    return owner_of(found.message, "assistant")


def known_as(body: dict[str, Any]) -> str:
    """The id by which Composio knows who has sent this."""
    return ConnectionUser.of(sender_of(body)).value


async def test_nobody_says_yes_for_another(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        for body in (in_group(KIM, ""), in_group(LEE, ""), message(KIM, "")):
            await at.connect(body)
        word = canary()
        await at.says(in_group(KIM, f'do ASANA_CREATE_TASK {{"name": "{word}"}}'))
        (question,) = await at.is_asked(GROUP, 1)
        assert word in question
        code = code_in(question)
        # another in the group, and the same one alone: each is somebody else
        await at.says(in_group(LEE, f"yes {code}"))
        await at.says(message(KIM, f"yes {code}"))
        assert (await at.hears(GROUP, 2))[1] == f"You said: yes {code}"
        assert await at.hears(KIM, 1) == [f"You said: yes {code}"]
        assert at.ran() == []
        # what is no answer waits; the answer may reach another process
        await at.says(in_group(KIM, "what do you mean?"), at.there.url)
        # nor is a word that may be said to somebody else
        await at.says(in_group(KIM, "ok"), at.there.url)
        await at.says(in_group(KIM, f"Yes {code}!"), at.there.url)
        heard = await at.hears(GROUP, 5)
        assert word in heard[2]
        assert heard[3:] == ["You said: what do you mean?", "You said: ok"]
        assert at.ran() == [(known_as(in_group(KIM, "")), {"name": word})]
        assert word not in "".join(at.bridge.texts(KIM) + at.bridge.texts(LEE))


async def test_no_means_no(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        await at.connect(message(KIM, ""))
        await at.says(message(KIM, 'do ASANA_CREATE_TASK {"name": "a"}'))
        await at.is_asked(KIM, 1)
        await at.says(message(KIM, "no"))
        await at.hears(KIM, 2)
        assert at.ran() == []
        # a word before the question is no answer to it
        await at.says(message(KIM, "yes"))
        await at.hears(KIM, 3)
        await at.says(message(KIM, 'do ASANA_CREATE_TASK {"name": "b"}'))
        # a late word could be meant for the question before
        code = code_in((await at.is_asked(KIM, 4))[3])
        await at.says(message(KIM, "yes"), at.there.url)
        await at.says(message(KIM, f"1 {code}"))
        await at.hears(KIM, 6)
        assert at.ran() == [(known_as(message(KIM, "")), {"name": "b"})]


async def test_only_a_word_after_the_question_was_sent_is_its_answer(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        await at.connect(message(KIM, ""))
        at.bridge.plan = [503] * 100
        await at.says(message(KIM, 'do ASANA_CREATE_TASK {"name": "a"}'))
        await at.bridge.until_asked(1)
        # of nothing that was shown
        await at.says(message(KIM, "yes"), at.there.url)
        at.bridge.plan.clear()
        assert "ASANA_CREATE_TASK" in (await at.is_asked(KIM, 1))[0]
        await at.says(message(KIM, "no"))
        assert (await at.hears(KIM, 3))[2] == "You said: yes"
        assert at.ran() == []


@pytest.mark.parametrize(
    ("plan", "name", "told"),
    [
        ([400], "a", [FAILED]),
        (["cut"], "a", [FAILED]),
        ([400], "a" * 4_000, ["(2 of 2)", FAILED]),
        ([200, "cut"], "a" * 4_000, ["(1 of 2)", FAILED]),
    ],
)
async def test_what_was_not_wholly_asked_is_denied_and_told(
    plan: list[int | str], name: str, told: list[str], tmp_path: Path
) -> None:
    async with place(tmp_path) as at:
        await at.connect(message(KIM, ""))
        at.bridge.plan = plan
        await at.says(message(KIM, f'do ASANA_CREATE_TASK {{"name": "{name}"}}'))
        heard = await at.hears(KIM, len(told) + 1)
        assert all(part in text for part, text in zip(told, heard[:-1], strict=True))
        assert at.ran() == []


async def test_links_differ_and_go_to_whom_they_are_for_alone(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        for body in (message(KIM, "/connect asana"), message(LEE, "/connect asana")):
            await at.says(body)
        links = [*await at.hears(KIM, 1), *await at.hears(LEE, 1)]
        assert len(set(links)) == 2
        offered = [found.group() for link in links if (found := TICKET.search(link))]
        assert len(set(offered)) == 2
        # Nobody is handed a link to Composio's site; these warn whoever follows them.
        assert at.composio.to("POST /connected_accounts/link") == []
        owners = rows(tmp_path, "SELECT owner_id FROM agent_connections")
        people = {sender_of(message(KIM, "")).id, sender_of(message(LEE, "")).id}
        assert {row["owner_id"] for row in owners} == people
        async with at.http.get(f"{at.here.url}/{offered[0]}") as answer:
            assert "the WhatsApp chat of a number that ends in 11" in await answer.text()


async def test_in_a_group_nobody_is_shown_a_link_that_connects_an_account(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        alone = "Please write to me alone to connect an account."
        await at.says(in_group(KIM, "/connect asana"))
        assert await at.hears(GROUP, 1) == [alone]
        assert at.composio.to("POST /connected_accounts/link") == []
        # a tool that needs an account offers a link
        await at.says(in_group(LEE, "do ASANA_GET_TASKS {}"))
        assert (await at.hears(GROUP, 2))[1].endswith(alone)
        assert len(rows(tmp_path, "SELECT * FROM agent_connections")) == 1
        assert at.composio.to("POST /connected_accounts/link") == []
        for part in ("composio", "connections/connect", "ticket"):
            assert part not in "".join(at.bridge.texts(GROUP))


async def test_each_hears_their_own_alone(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        people = [
            (make, sender, f"49{number}@c.us" if sender is None else sender, canary())
            for number, (make, sender) in enumerate(
                [(message, KIM), (message, LEE), (in_group, KIM), (in_group, LEE)]
                + [(message, None)] * 8
            )
        ]
        said = [make(sender, f"{word} {turn}") for make, _, sender, word in people for turn in "ab"]
        await asyncio.gather(
            *(
                at.says(body, url)
                for body, url in zip(said, [at.here.url, at.there.url] * 12, strict=True)
            )
        )
        await settled(at.http, at.here.url, done=24)
        await at.bridge.until(24)
        for make, _, sender, word in people:
            chat = GROUP if make is in_group else sender
            assert sorted(t for t in at.bridge.texts(chat) if word in t) == [
                f"You said: {word} a",
                f"You said: {word} b",
            ]
            assert all(word not in text for to, text in at.bridge.delivered if to != chat)
        for request in at.endpoint.requests:
            words = {text.partition(" ")[0] for text in request.user_texts}
            assert len(words) == 1, "one request to the model holds two people's words"
        assert count(tmp_path)[0] == 12
        assert (
            len({row["owner_id"] for row in rows(tmp_path, "SELECT * FROM agent_sessions")}) == 12
        )


async def test_to_be_forgotten_takes_one_s_own_alone(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        for body in (message(KIM, "one"), in_group(KIM, "two"), message(LEE, "three")):
            await at.says(body)
        await settled(at.http, at.here.url, done=3)
        await at.says(message(KIM, "/new"))
        await settled(at.http, at.here.url, done=4)
        await at.says(message(KIM, "four"))
        await settled(at.http, at.here.url, done=5)
        assert count(tmp_path)[0] == 4
        await at.bridge.until(5)  # what has not gone out yet is forgotten with the rest
        await at.says(message(KIM, "/forget everything"))
        await settled(at.http, at.here.url, done=6)
        await at.bridge.until(6)
        left = rows(tmp_path, "SELECT content FROM agent_messages WHERE role = 'user'")
        assert sorted(row["content"] for row in left) == ["three", "two"]
        # of what was dealt with, nothing is kept that says whose it was, or what
        await settled(at.http, at.here.url, done=6)
        kept = rows(tmp_path, "SELECT owner_id, payload, media FROM channel_messages")
        assert {value for row in kept for value in row.values()} == {None}
        text = str(rows(tmp_path, "SELECT * FROM channel_messages"))
        assert "491511" not in text


async def test_what_a_recurring_task_answers_goes_to_the_chat_that_asked_for_it(
    tmp_path: Path,
) -> None:
    async with place(tmp_path, model="echo") as at:
        hands, secret = FakeClock(), canary()
        await at.says(message(KIM, f"/schedule {hands.far}: tell me {secret}"))
        await at.says(in_group(LEE, "/schedule list"))
        await at.hears(KIM, 1)
        await at.hears(GROUP, 1)
        hands.jump()
        await at.runs_what_is_due(hands)
        assert secret in (await at.hears(KIM, 2))[1]
        assert secret not in "".join(at.bridge.texts(GROUP))


async def test_a_task_of_an_ended_conversation_does_not_bring_it_back(tmp_path: Path) -> None:
    async with place(tmp_path, model="echo") as at:
        hands = FakeClock()
        await at.says(message(KIM, f"/schedule {hands.far}: tell me"))
        await at.hears(KIM, 1)
        await at.says(message(KIM, "/new"))
        await at.hears(KIM, 2)
        await at.says(message(KIM, "the second conversation"))
        await at.hears(KIM, 3)
        hands.jump()
        await at.runs_what_is_due(hands)
        await at.hears(KIM, 4)
        await at.says(message(KIM, "still the second one"))
        await at.hears(KIM, 5)
        asked = at.endpoint.requests[-1].user_texts
        assert asked == ["the second conversation", "still the second one"]
