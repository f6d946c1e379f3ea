"""The canary storm on trees of messages, links and imports: users who read what others share.

Each user answers again, edits, selects versions, forks, shares, ends a link, imports their own
export, and reads and continues what others share at the same time. What a link shows is known
beforehand: the canaries of the path that was shown when it was made. Whoever has read them by an
open link may see them from then on; whoever has continued that chat may store them, too.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import orjson

from cmw_agent.identity.channel_principals import new_share_id, share
from tests.harness import WAIT, Browser, Event, Tab, canary, last_text
from tests.isolation.channel_storm import KEYS
from tests.isolation.storm import PAGE_HASH, User, canaries, visitor_token
from tests.isolation.world import AppWithModel

NOTES = 5  # of each user
READS = 4  # links that each user reads, besides the one that they continue
REST = "api/chat/assistant"
FORK_HASH, COPY_HASH = "ccccccccccc", "ddddddddddd"
IMPORTS = 2  # with their exports, at once: the app refuses more than it has places for


@dataclass(eq=False, slots=True)
class Link:
    """A share: what it shows, and how far its owner has come in ending it."""

    owner: "Sharer"
    share_id: str
    shows: frozenset[str]
    is_ending: bool = False
    has_ended: bool = False


@dataclass(slots=True)
class Sharer(User):
    """A user who shares and reads.

    `key` and `session` are those of one who uses the REST interface; `pages` is what came beside
    the tabs' events.
    """

    key: str = ""
    session: str = ""
    pages: bytearray = field(default_factory=bytearray)

    @property
    def link_count(self) -> int:
        """How many links it makes."""
        return 3 if self.key else 4

    def text_received(self) -> str:
        """Return all that was delivered to this user."""
        return self.pages.decode() + User.text_received(self)

    def may_see(self, shown: frozenset[str]) -> None:
        """Note that a link has shown something; what came of it before came by another way."""
        self.too_early |= self.received() - self.may_receive()
        self.seen |= shown


class Board:
    """All links of a storm, for everybody to read; a link is there from the moment it is made."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.counts = Counter[str]()  # answers of links, by what was asked and their status
        self.importing = asyncio.Semaphore(IMPORTS)
        self._changed = asyncio.Condition()

    def summary(self) -> str:
        """Return how often links were opened and refused."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))

    async def add(self, link: Link) -> None:
        """Show a link to everybody."""
        self.links.append(link)
        async with self._changed:
            self._changed.notify_all()

    async def pick(self, user: Sharer, chance: random.Random) -> Link:
        """Return a link of another user, open or ended, once there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: any(link.owner is not user for link in self.links))
        return chance.choice([link for link in self.links if link.owner is not user])


def sharers(count: int) -> list[Sharer]:
    """Return so many users, who will say so much: every third one by REST, under equal session ids."""
    keys = list(KEYS.values())
    return [
        Sharer(
            "token" if n % 3 == 1 else "cookie",
            [f"note {canary()}" for _ in range(NOTES)],
            key=keys[n // 3 % len(keys)] if n % 3 == 2 else "",
            session=f"session-{n // 3 // len(keys)}",
        )
        for n in range(count)
    ]


async def sharing_storm(
    world: AppWithModel, crowd: Sequence[Sharer], patience: float = WAIT
) -> Board:
    """Let the users share, read and continue at once; return all of their links."""
    board = Board()

    async def visit(number: int, user: Sharer) -> None:
        try:
            async with (
                asyncio.timeout(patience),
                Browser(world.url, cookies=user.kind == "cookie") as browser,
            ):
                headers = {"Authorization": f"Bearer {user.key}"} if user.key else {}
                if user.kind == "token":
                    headers = await visitor_token(browser)
                way = _RestVisit if user.key else _PageVisit
                await way(browser, headers, user, board, random.Random(number)).run()
        except Exception as error:  # noqa: BLE001 (a broken build may send anything)
            user.trouble = error

    await asyncio.gather(*(visit(number, user) for number, user in enumerate(crowd)))
    return board


def share_faults(world: AppWithModel, board: Board) -> Iterator[str]:
    """Yield what is wrong with the stored snapshots after a storm."""
    stored: dict[str, set[str]] = {}
    with contextlib.closing(sqlite3.connect(world.database)) as connection:
        for reader, content in connection.execute(
            "SELECT reader_id, title FROM agent_share_snapshots UNION ALL "
            "SELECT reader_id, content FROM agent_share_messages"
        ):
            stored.setdefault(reader, set()).update(canaries(content))
    shown = {share(link.share_id).id: set(link.shows) for link in board.links if not link.is_ending}
    for reader in sorted(stored.keys() | shown.keys()):
        if stored.get(reader) != shown.get(reader):
            yield f"the snapshot {reader} holds {stored.get(reader)}, not {shown.get(reader)}"


@dataclass(slots=True)
class _Visit:
    """What one user does, however they reach the app."""

    browser: Browser
    headers: dict[str, str]
    user: Sharer
    board: Board
    chance: random.Random
    own: list[Link] = field(default_factory=list)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        url, headers = f"{self.browser.url}/{path}", {**self.headers, "x-file-name": "x"}
        async with self.browser.http.request(method, url, headers=headers, **options) as answer:
            body = await answer.read()
            self.user.pages += body
            return answer.status, body

    async def json(self, method: str, path: str, content: Any = None) -> Any:
        status, body = await self.ask(method, path, json=content)
        assert status in (200, 201, 204), (path, body)
        return orjson.loads(body) if body else None

    async def made(self, share_id: str, shows: Set[str]) -> None:
        link = Link(self.user, share_id, frozenset(shows))
        self.own.append(link)
        await self.board.add(link)

    async def read_some(self) -> None:
        for _ in range(READS):
            link = await self.board.pick(self.user, self.chance)
            status, body = await self.opened("GET", link)
            shown = canaries(body.decode())
            if status == 200 and shown != link.shows:
                said = [sorted(canaries(text)) for text in link.owner.said]
                fault = f"{link.share_id} showed {shown}, not {link.shows}; its owner said {said}"
                self.user.faults.append(fault)

    async def opened(self, method: str, link: Link, path: str = "") -> tuple[int, bytes]:
        """Ask for what a link shows, and judge whether it was to be open."""
        had_ended = link.has_ended
        url, sent = f"{self.browser.url}/share/{link.share_id}{path}", method == "POST" or None
        async with self.browser.http.request(
            method, url, headers=self.headers, json=sent and {}
        ) as answer:
            body = await answer.read()
        if answer.status == 200:
            self.user.may_see(link.shows)
        self.user.pages += body
        self.board.counts[f"{path.strip('/') or 'read'} {answer.status}"] += 1
        if answer.status not in (200, 404):
            self.user.faults.append(f"{link.share_id} answered {answer.status}: {body!r}")
        elif (answer.status == 200 and had_ended) or (answer.status == 404 and not link.is_ending):
            self.user.faults.append(f"{link.share_id} answered {answer.status} ({had_ended=})")
        return answer.status, body

    async def end(self, link: Link, method: str, path: str, content: Any = None) -> None:
        """End a link by a request: from then on it is like one that never was."""
        link.is_ending = True
        await self.json(method, path, content)
        link.has_ended = True
        guessed = Link(self.user, new_share_id(), frozenset(), is_ending=True, has_ended=True)
        answers = [await self.opened("GET", each) for each in (link, guessed)]
        if answers[0] != answers[1]:
            self.user.faults.append(f"an ended link answers {answers}")

    async def import_own(self, export_path: str, path: str, count: int) -> None:
        """Import one's own export, which has so many conversations, with other words in it.

        As it is it would be recognised as what is there already.
        """
        async with self.board.importing:
            status, export = await self.ask("GET", export_path)
            assert status == 200, export
            assert b"note " in export
            status, body = await self.ask("POST", path, data=export.replace(b"note ", b"copy "))
        if status != 200 or orjson.loads(body.splitlines()[-1])["imported"] != count:
            self.user.faults.append(f"of {count} not all were imported: {body!r}")


class _PageVisit(_Visit):
    """A user of the page, who continues what another has shared."""

    async def run(self) -> None:
        first, second, edited, forked, continued = self.user.said
        tab = await self._tab(PAGE_HASH)
        for text in (first, second):
            self._answered(await tab.send(text))
        self._answered(await tab.run("edit", ["3", edited]))
        (chat,) = await self._listed()
        await self._retry(tab, chat)
        await self._share(chat, canaries(first + edited))
        await self._select_former(chat)
        await self._share(chat, canaries(first + second))
        await asyncio.gather(self._fork(chat, first, forked), self._continue(continued))
        await self.read_some()
        await self.end(self.own[0], "POST", "shares/revoke", {"id": self.own[0].share_id})
        before = await self._listed()
        await self.import_own("history/everything", "history/import", len(before))
        assert len(await self._listed()) == 2 * len(before)
        await tab.run("open_page", [])
        for path in ("history/search?q=note", "shares"):
            await self.json("GET", path)

    async def _tab(self, session_hash: str, query: str = "") -> Tab:
        tab = self.browser.tab(session_hash=session_hash, headers=self.headers, query=query)
        self.user.tabs.append(tab)
        await tab.open()
        return tab

    def _answered(self, event: Event) -> None:
        assert event.error is None, event.error
        self.user.answered.append(last_text(event.value))

    async def _listed(self) -> list[str]:
        return [each["id"] for each in (await self.json("GET", "history"))["conversations"]]

    async def _retry(self, tab: Tab, chat: str) -> None:
        """Answer the last question of a chat again."""
        shown = (await self.json("GET", f"history/versions?id={chat}"))["messages"]
        self._answered(await tab.run("retry", [str(shown[-2]["seq"])]))

    async def _select_former(self, chat: str) -> None:
        """Show the version of the second question that was shown before the edit."""
        shown = (await self.json("GET", f"history/versions?id={chat}"))["messages"]
        former = shown[2]["versions"][0]
        await self.json("POST", "history/select", {"id": chat, "seq": former})

    async def _share(self, chat: str, shows: Set[str]) -> None:
        body = {"conversation": chat, "days": self.chance.choice((None, 1)), "files": True}
        await self.made((await self.json("POST", "shares/create", body))["id"], shows)

    async def _fork(self, chat: str, first: str, text: str) -> None:
        """Go on from the first answer in another conversation, and share that one."""
        fork = (await self.json("POST", "history/fork", {"id": chat, "seq": 2}))["id"]
        tab = await self._tab(FORK_HASH, f"?c={fork}")
        self._answered(await tab.send(text))
        await self._share(fork, canaries(first + text))

    async def _continue(self, text: str) -> None:
        """Continue what another has shared, answer again there, and share that."""
        while True:
            link = await self.board.pick(self.user, self.chance)
            status, body = await self.opened("POST", link, "/continue")
            if status == 200:
                break
        self.user.stored |= link.shows
        copy = orjson.loads(body)["conversation"]
        tab = await self._tab(COPY_HASH, f"?c={copy}")
        self._answered(await tab.send(text))
        await self._retry(tab, copy)
        await self._share(copy, link.shows | canaries(text))


class _RestVisit(_Visit):
    """A user of the REST interface, whose session goes on in its fork."""

    async def run(self) -> None:
        first, second, edited, forked, last = self.user.said
        session = f"{REST}/sessions/{self.user.session}"
        for text in (first, second):
            await self._say(text)
        for path, body in (("1/edit", {"message": edited}), ("5/retry", {})):
            again = await self.json("POST", f"{session}/messages/{path}", body)
            self.user.answered.append(again["response"])
        await self._share(session, canaries(edited))
        await self.json("POST", f"{session}/messages/1/select")
        await self._share(session, canaries(first + second))
        await self.json("POST", f"{session}/messages/2/fork")
        await self._say(forked)
        await self._share(session, canaries(first + forked))
        await self.read_some()
        await self.end(self.own[0], "DELETE", f"{session}/shares/{self.own[0].share_id}")
        export = f"{session}/export?format=json&versions=all"
        await self.import_own(export, f"{session}/import", 1)
        await self._say(last)
        for path in (session, f"{session}/export", f"{session}/shares"):
            await self.ask("GET", path)

    async def _say(self, text: str) -> None:
        body = {"message": text, "session_id": self.user.session}
        answer = await self.json("POST", f"{REST}/message", body)
        self.user.answered.append(answer["response"])

    async def _share(self, session: str, shows: Set[str]) -> None:
        made = await self.json("POST", f"{session}/shares", {"days": 1})
        await self.made(made["share_id"], shows)
