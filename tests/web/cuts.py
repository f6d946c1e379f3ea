"""Rounds of a page whose connection is cut while it sends a message and reads the answer."""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import expect

from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.relay import Link, Relay
from tests.harness import WAIT, canary
from tests.rows import messages, turns
from tests.service import wait_until
from tests.web.chat_page import ChatPage

PHASES = (
    "sending",  # the request does not reach the server, or not whole
    "joining",  # the server has the message, and the page does not know
    "silence",  # before the first word
    "middle",  # of the answer
    "storing",  # the answer is being stored
)
WAYS = ("cut", "freeze", "go_dead")  # methods of the relay
SECONDS = (2, 20, 200)
STEPS = 4  # in which a page's clock runs on
LATEST_PROBE_MS = 31_000  # by then a page has asked whether the server is back
SILENCE_MS = 45_000  # by then a page knows that nothing comes any more
NOTHING_LEFT = """() => Object.keys(localStorage)
    .filter((key) => key.startsWith("cmw.of.") && key.includes(".outbox"))"""


@dataclass(frozen=True)
class Round:
    """What happens to one message.

    Attributes:
        number: Which round of the campaign it is.
        phase: When the connection is cut.
        way: How.
        seconds: For how long.
        ends_away: Whether the answer ends while the page has no connection.
        is_cut_again: Whether the connection is cut once more when the page comes back.
        is_anew: Whether the message begins a new conversation.
        has_next: Whether a second message is written meanwhile.
        has_draft: Whether something else stands in the box meanwhile.
        is_reloaded: Whether the page is loaded again at the end.
        dies_late: Whether the server learns of a dead connection while the page reads on another.
    """

    number: int
    phase: str
    way: str
    seconds: int
    ends_away: bool
    is_cut_again: bool
    is_anew: bool
    has_next: bool
    has_draft: bool
    is_reloaded: bool
    dies_late: bool

    @classmethod
    def chosen(cls, seed: int, number: int) -> "Round":
        """Return the round that a seed chooses; all phases, ways and lengths take turns."""
        dice = random.Random(f"{seed} {number}")
        place = number + seed
        return cls(
            number=number,
            phase=PHASES[place % len(PHASES)],
            way=WAYS[place % len(WAYS)],
            seconds=SECONDS[place // len(WAYS) % len(SECONDS)],
            ends_away=dice.random() < 0.5,
            is_cut_again=dice.random() < 0.3,
            is_anew=dice.random() < 0.4,
            has_next=dice.random() < 0.3,
            has_draft=dice.random() < 0.3,
            is_reloaded=dice.random() < 0.2,
            dies_late=dice.random() < 0.7,
        )


@dataclass
class Lane:
    """One page behind a relay of its own, and the rounds that it has gone through.

    Attributes:
        page: The page, whose clock the test may advance unless `is_real`.
        network: The relay.
        model: Writes the answers.
        folder: The app's data folder.
        is_real: Whether cuts last as long as they say, for page and server.
        storing: Held by the lane that lets nobody write into the database.
    """

    page: ChatPage
    network: Relay
    model: OpenAIDouble
    folder: Path
    is_real: bool
    storing: asyncio.Lock
    said: list[str] = field(default_factory=list)

    async def play(self, planned: Round) -> None:
        """Send a message, cut the connection, and check that nothing is lost and nothing twice."""
        if planned.is_anew and self.said:
            await self.page.begin_anew()
            self.said.clear()
        await self.page.page.evaluate("window.loadedOnce = true")
        word = canary()
        text = f"[gated-{2 if planned.phase == 'middle' else 0}] {word}"
        self.said.append(text)
        is_written = await self._begin(planned, text, word)
        await self._write_more(planned, word)
        if planned.ends_away and not is_written and planned.phase != "sending":
            await self._write_answer(word)
            is_written = True
        await self._pass(planned.seconds)
        await self._come_back(planned)
        if not is_written:
            await self._end_dead(planned, word)
            await self._write_answer(word)
        await self._check(planned, word)

    # -- what happens ---------------------------------------------------------------

    async def _begin(self, planned: Round, text: str, word: str) -> bool:
        """Send the message and cut the connection; return whether the model has ended its answer."""
        cut: Callable[[], None] = getattr(self.network, planned.way)
        if planned.phase in ("sending", "joining"):
            with self._cut_at(cut, word.encode(), is_up=planned.phase == "sending") as happened:
                await self.page.write(text)
                await happened
            return False
        await self.page.write(text)
        await self.model.wait_held(word)
        if planned.phase == "middle":
            await expect(self.page.answers.last).to_have_text("You said:")
        if planned.phase != "storing":
            cut()
            return False
        async with self.storing:
            with _writes_held(self.folder):  # the app waits ten seconds for it at most
                await self._write_answer(word, is_stored=False)
                cut()
        return True

    @contextlib.contextmanager
    def _cut_at(
        self, cut: Callable[[], None], word: bytes, *, is_up: bool
    ) -> Iterator[asyncio.Future[None]]:
        """Cut before the piece with `word` goes to the server, or before its reply comes back."""
        happened = asyncio.get_running_loop().create_future()

        def watch(link: Link, data: bytes, upward: bool) -> None:
            if happened.done():
                return
            link.sent = link.sent or (upward and word in data)
            if link.sent and upward == is_up:
                cut()
                happened.set_result(None)

        self.network.watch = watch
        yield happened
        self.network.watch = None

    async def _write_more(self, planned: Round, word: str) -> None:
        if planned.has_next:
            text = f"next {word}"
            self.said.append(text)
            await self.page.write(text)
            await expect(self.page.outbox.last).to_contain_text(text)
        if planned.has_draft:
            await self.page.box.fill(f"draft {word}")

    async def _write_answer(self, word: str, *, is_stored: bool = True) -> None:
        await self.model.wait_held(word)
        self.model.release(word)
        (request,) = self.model.matching(f"] {word}")
        await self.model.wait_until(lambda: request.finished, what="the end of an answer")
        if is_stored:
            await wait_until(lambda: self._states(word)[:1] == ["complete"], every=0.05)

    async def _pass(self, seconds: int) -> None:
        """Let time pass: the page's alone, or everybody's."""
        if self.is_real:
            await asyncio.sleep(seconds)
            return
        for _ in range(STEPS):
            await self.page.page.clock.run_for(1_000 * seconds // STEPS)

    async def _come_back(self, planned: Round) -> None:
        if planned.is_cut_again:
            with self._cut_at(
                getattr(self.network, planned.way), b"/queue/join", is_up=True
            ) as happened:
                self.network.restore()
                # A connection that was frozen goes on, and sends nothing again.
                await asyncio.wait([happened], timeout=2)
            await self._pass(2)
        self.network.restore()
        if self.is_real:
            return
        if planned.way == "go_dead":
            await self.page.page.clock.run_for(SILENCE_MS)
        await self.page.page.clock.fast_forward(LATEST_PROBE_MS)

    async def _end_dead(self, planned: Round, word: str) -> None:
        if planned.way != "go_dead" or not planned.dies_late:
            return
        await self.model.wait_held(word)
        await expect(self.page.offline).not_to_be_visible()
        await self.page.page.wait_for_function("window.cmw.running()")
        self.network.end_dead()

    # -- what must be true then -----------------------------------------------------

    def _states(self, word: str) -> list[str]:
        return [turn["state"] for turn in turns(self.folder, word)][-2:]

    async def _check(self, planned: Round, word: str) -> None:
        page, answers = self.page, [f"You said: {text}" for text in self.said]
        await expect(page.answers).to_have_text(answers)
        await page.settled()
        await expect(page.questions).to_have_text(self.said)
        await expect(page.outbox).to_have_count(0)
        await expect(page.offline).not_to_be_visible()
        await expect(page.box).to_have_value(f"draft {word}" if planned.has_draft else "")
        await expect(page.toast).to_have_count(0)
        self.network.end_dead()
        assert await page.page.evaluate("window.loadedOnce === true")
        assert await page.page.evaluate(NOTHING_LEFT) == []
        stored = messages(self.folder, word)
        assert [row["content"] for row in stored if row["role"] == "user"] == self.said
        assert [row["content"] for row in stored if row["role"] == "assistant"] == answers
        assert {row["status"] for row in stored if row["role"] == "assistant"} == {"complete"}
        asked = [request.last_user for request in self.model.matching(word)]
        assert asked == [text for text in self.said if word in text]
        await page.box.fill("")
        if planned.is_reloaded:
            await page.reload()
            await expect(page.answers).to_have_text(answers)
            await expect(page.questions).to_have_text(self.said)


@contextlib.contextmanager
def _writes_held(folder: Path) -> Iterator[None]:
    """Let nobody write into the app's database during the block."""
    with contextlib.closing(sqlite3.connect(folder / "chat.db", timeout=WAIT)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
