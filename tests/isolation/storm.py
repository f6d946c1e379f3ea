"""The canary storm: many concurrent users with unique canaries, and the oracle that judges it.

Users authenticate by a cookie, by the token of a page in a frame, or not at all; the authenticated
ones all send the same two session hashes, as if each had guessed the others'. The oracle: nothing
delivered to a user contains another's canary, and each user receives all of their own.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.harness import WAIT, Browser, Tab, browser_hash, canary, last_text
from tests.isolation.world import AppWithModel

Kind = Literal["cookie", "token", "nothing"]

CANARY = re.compile(r"canary-[0-9a-f]{16}")
PAGE_HASH = "aaaaaaaaaaa"
PROGRAM_HASH = "bbbbbbbbbbb"


@dataclass(slots=True)
class User:
    """One user of a storm: its messages, their answers, every byte received.

    `seen` has the canaries of others that open links have shown, `stored` those of chats that were
    continued, `too_early` those that came before any link showed them, `faults` what was wrong
    with the links.
    """

    kind: Kind
    said: list[str]
    answered: list[str] = field(default_factory=list)
    tabs: list[Tab] = field(default_factory=list)
    trouble: Exception | None = None
    seen: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    too_early: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def own(self) -> set[str]:
        """Return the canaries of its messages."""
        return canaries(" ".join(self.said))

    def may_receive(self) -> set[str]:
        """Return the canaries that may be delivered."""
        return self.own() | self.seen

    def text_received(self) -> str:
        """Return everything received, as text."""
        return "".join(tab.received.decode() for tab in self.tabs)

    def received(self) -> set[str]:
        """Return the canaries received."""
        return canaries(self.text_received())


@dataclass(frozen=True, slots=True)
class Verdict:
    """The oracle's findings; each entry is a defect."""

    leaks: list[str]  # another's canary was delivered
    missing: list[str]  # an own canary was not answered
    mixed: list[str]  # the model was sent canaries of several users in one request
    stored: list[str]  # the rows of one owner hold canaries that no user may store together
    shares: list[str] = field(default_factory=list)  # a link showed what it must not, or nothing

    @property
    def clean(self) -> bool:
        """Whether there are no findings."""
        return not (self.leaks or self.missing or self.mixed or self.stored or self.shares)


def canaries(text: str) -> set[str]:
    """Return the canaries in `text`."""
    return set(CANARY.findall(text))


async def storm(
    world: AppWithModel, *, users: int, turns: int, patience: float = WAIT, guessed: bool = True
) -> list[User]:
    """Let `users` talk at once, `turns` on the page and `turns` by program each.

    A user gives up after `patience` seconds; what it has not got by then is missing.
    With `guessed` all users who are known send the same session hashes.
    """
    kinds: tuple[Kind, ...] = ("cookie", "cookie", "token", "cookie", "nothing")
    crowd = [
        User(kinds[n % len(kinds)], [f"note {canary()} please" for _ in range(2 * turns)])
        for n in range(users)
    ]
    await asyncio.gather(*(_visit(world, user, patience, guessed) for user in crowd))
    return crowd


def judge(world: AppWithModel, crowd: Sequence[User]) -> Verdict:
    """Return the oracle's verdict on a storm."""
    owner = {found: n for n, user in enumerate(crowd) for found in canaries(" ".join(user.said))}

    together = [user.own() | user.stored for user in crowd]

    def of_several(texts: Iterable[str]) -> bool:
        found = {each for text in texts for each in canaries(text)}
        return not any(found <= each for each in together)

    rows: dict[str, list[str]] = {}
    for row in (row for table in world.rows().values() for row in table):
        rows.setdefault(row["owner_id"], []).append(repr(row))
    return Verdict(
        leaks=[
            f"user {n} got {found} of user {owner[found]}"
            for n, user in enumerate(crowd)
            for found in sorted(user.received() - user.may_receive() | user.too_early)
        ],
        missing=[
            f"user {n} got no answer to {said!r} ({user.trouble!r})"
            for n, user in enumerate(crowd)
            for said in user.said
            if f"You said: {said}" not in user.answered or not canaries(said) <= user.received()
        ],
        mixed=[
            request.last_user
            for request in world.endpoint.requests
            if of_several(str(message.get("content")) for message in request.messages)
        ],
        stored=[owner_id for owner_id, texts in rows.items() if of_several(texts)],
        shares=[fault for user in crowd for fault in user.faults],
    )


async def _visit(world: AppWithModel, user: User, patience: float, guessed: bool) -> None:
    # Who is known by nothing but the hash must have one of its own.
    shared = guessed and user.kind != "nothing"
    hashes = (PAGE_HASH, PROGRAM_HASH) if shared else (browser_hash(), browser_hash())
    try:
        async with (
            asyncio.timeout(patience),
            Browser(world.url, cookies=user.kind == "cookie") as browser,
        ):
            headers = await visitor_token(browser) if user.kind == "token" else {}
            user.tabs = page, program = [
                browser.tab(session_hash=session_hash, headers=headers) for session_hash in hashes
            ]
            for tab in user.tabs:
                await tab.open()
            half = len(user.said) // 2
            await asyncio.gather(
                _write(page, user, user.said[:half]), _call(program, user, user.said[half:])
            )
            await page.run("open_page", [])
            await _look_back(page)
    except Exception as error:  # noqa: BLE001 (a broken build may send anything)
        user.trouble = error


async def _look_back(tab: Tab) -> None:
    """Fetch everything that the page's conversation list offers."""
    for path in ("history", "history/search?q=note", "history/everything"):
        async with tab.http.get(f"{tab.url}/{path}", headers=tab.headers) as answer:
            tab.received += await answer.read()


async def visitor_token(browser: Browser) -> dict[str, str]:
    """Return the header that proves a visitor whose browser keeps no cookies."""
    async with browser.http.get(f"{browser.url}/visitor") as answer:
        return {"x-cmw-visitor": (await answer.json())["token"]}


async def _write(tab: Tab, user: User, said: list[str]) -> None:
    for text in said:
        event = await tab.send(text)
        user.answered.append(last_text(event.value))


async def _call(tab: Tab, user: User, said: list[str]) -> None:
    for text in said:
        event = await tab.run("chat", [text])
        user.answered.append(str(event.value))
