"""Request bodies: limits of size, time and concurrent large ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.types import Message, Receive, Scope, Send

from cmw_agent.channels.app import _max_bytes, whatsapp_senders
from cmw_agent.channels.common.api_keys import Keys
from cmw_agent.channels.common.body_limits import LARGE_SECONDS, SMALL_SECONDS, BoundedBodies
from cmw_agent.core.errors import UserError
from cmw_agent.limits.budget_sizes import BODY_BYTES, LARGE_BODIES
from cmw_agent.limits.budgets import Budgets
from tests.harness import WAIT, served, settings_for

SMALL, MOST = 1_000, 100_000
SIGNED = "sha256=" + "0" * 64
SECRET = "w" * 32


class Sender:
    """One client: what it sends comes when the test says so."""

    def __init__(
        self, bodies: BoundedBodies, length: int | None = None, address: str = "192.0.2.1"
    ) -> None:
        self._pieces: asyncio.Queue[Message] = asyncio.Queue()
        self.reads = 0
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.answered = asyncio.Event()
        lines = [] if length is None else [(b"content-length", str(length).encode())]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "headers": lines,
            "client": (address, 1234),
        }
        self.task = asyncio.create_task(bodies(scope, self._receive, self._send))

    def write(self, piece: bytes, *, more: bool = True) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    async def gone(self) -> None:
        self._pieces.put_nowait({"type": "http.disconnect"})
        await self.task

    async def reading(self, times: int) -> None:
        async with asyncio.timeout(WAIT):
            while self.reads < times:  # noqa: ASYNC110 (there is no event for it)
                await asyncio.sleep(0)

    async def told(self) -> int | None:
        async with asyncio.timeout(WAIT):
            await self.answered.wait()
        return self.status

    async def _receive(self) -> Message:
        self.reads += 1
        return await self._pieces.get()

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        self.answered.set()


class Behind:
    """The app behind: answers with 200 when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await self.may.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})


def budgets(share: float = 1) -> Budgets:
    return Budgets.of(settings_for(Path(), address_share=share))


def bounded(
    behind: Behind | None = None,
    small_seconds: float = SMALL_SECONDS,
    large_seconds: float = LARGE_SECONDS,
) -> BoundedBodies:
    return BoundedBodies(
        behind or Behind(),
        lambda _: MOST,
        budgets=budgets(),
        small=SMALL,
        small_seconds=small_seconds,
        large_seconds=large_seconds,
    )


async def held(bodies: BoundedBodies, *, is_declared: bool) -> list[Sender]:
    """Return clients who have as many large bodies underway as there may be."""
    senders = [Sender(bodies, MOST if is_declared else None) for _ in range(LARGE_BODIES)]
    for sender in senders:
        sender.write(b"x" * (SMALL + 1))
        await sender.reading(2)
    return senders


@pytest.mark.parametrize("is_declared", [True, False])
async def test_few_large_bodies_are_in_memory_at_once(is_declared: bool) -> None:
    bodies = bounded()
    senders = await held(bodies, is_declared=is_declared)
    refused = Sender(bodies, MOST)
    assert (await refused.told(), refused.reads) == (503, 0)
    assert int(refused.headers[b"retry-after"]) > 0
    small = Sender(bodies, 5)
    small.write(b"small", more=False)
    assert await small.told() == 200
    await senders[0].gone()
    senders[0] = Sender(bodies, MOST)
    senders[0].write(b"whole", more=False)
    assert await senders[0].told() == 200
    for sender in senders[1:]:
        await sender.gone()


async def test_a_large_body_keeps_its_place_until_it_is_dealt_with() -> None:
    behind = Behind()
    behind.may.clear()
    bodies = bounded(behind)
    senders = await held(bodies, is_declared=True)
    for sender in senders:
        sender.write(b"the rest", more=False)
        await sender.reading(2)
    assert await Sender(bodies, MOST).told() == 503
    behind.may.set()
    assert [await sender.told() for sender in senders] == [200] * LARGE_BODIES
    await asyncio.gather(*(sender.task for sender in senders))
    after = Sender(bodies, MOST)
    after.write(b"whole", more=False)
    assert await after.told() == 200


async def test_small_bodies_that_do_not_end_share_a_bound() -> None:
    piece = BODY_BYTES // 8
    bodies = BoundedBodies(Behind(), lambda _: piece, budgets=budgets(), small=piece)
    senders = [Sender(bodies, address=f"192.0.2.{n}") for n in range(8)]
    for sender in senders:
        sender.write(b"x" * piece)
        await sender.reading(2)
    one_more = Sender(bodies, address="192.0.2.8")
    one_more.write(b"x")
    assert await one_more.told() == 503
    for sender in senders:
        await sender.gone()
    last = Sender(bodies)
    last.write(b"x" * piece, more=False)
    assert await last.told() == 200


@pytest.mark.parametrize(
    ("mine", "also_mine", "anothers"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
    ],
)
async def test_one_network_takes_its_share_of_what_comes_and_no_more(
    mine: str, also_mine: str, anothers: str
) -> None:
    piece = BODY_BYTES // 16
    bodies = BoundedBodies(Behind(), lambda _: piece, budgets=budgets(1 / 8), small=piece)
    senders = [Sender(bodies, address=each) for each in (mine, also_mine)]
    for sender in senders:
        sender.write(b"x" * piece)
        await sender.reading(2)
    one_more = Sender(bodies, address=mine)
    one_more.write(b"x")
    assert (await one_more.told(), one_more.headers[b"retry-after"]) == (429, b"5")
    other = Sender(bodies, address=anothers)
    other.write(b"x" * piece, more=False)
    assert await other.told() == 200
    await senders[0].gone()
    again = Sender(bodies, address=also_mine)
    again.write(b"x" * piece, more=False)
    assert await again.told() == 200
    await senders[1].gone()


async def test_a_small_body_that_does_not_come_is_given_up_before_a_large_one() -> None:
    bodies = bounded(small_seconds=0)
    assert await Sender(bodies, SMALL).told() == 408
    large = Sender(bodies, MOST)
    await large.reading(1)
    large.write(b"whole", more=False)
    assert await large.told() == 200
    assert await Sender(bounded(large_seconds=0), MOST).told() == 408


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "²", str(MOST + 1)])
async def test_a_length_that_cannot_be_is_refused_unread(length: str) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("it was read")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", length.encode("latin-1"))]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    await bounded()(scope, receive, send)
    assert sent[0]["status"] == 413


INCOMING: tuple[tuple[dict[str, object], list[str], int], ...] = (
    ({}, [SIGNED], 404),
    ({"whatsapp_secret": SECRET}, [], 401),
    ({"whatsapp_secret": SECRET}, [SIGNED, SIGNED], 401),
    ({"whatsapp_secret": SECRET}, ["sha256=" + "0" * 63], 401),
    ({"whatsapp_secret": SECRET}, [f"sha1={'0' * 64}"], 401),
    ({"whatsapp_secret": SECRET}, ["sha256=" + "g" * 64], 401),
    ({"whatsapp_secret": SECRET}, [SIGNED], 1_000_000),
    ({"whatsapp_secret": SECRET, "max_body_bytes": 2_000_000}, [SIGNED], 2_000_000),
    ({"whatsapp_secret": SECRET, "whatsapp_bridge_url": "http://bridge"}, [SIGNED], 26_928_810),
    ({"whatsapp_secret": SECRET, "whatsapp_inline": True}, [SIGNED], 26_928_810),
)


@pytest.mark.parametrize(("changes", "signatures", "wanted"), INCOMING, ids=range(len(INCOMING)))
def test_only_what_a_bridge_has_signed_may_be_large(
    changes: dict[str, object], signatures: list[str], wanted: int, tmp_path: Path
) -> None:
    headers = [(b"x-hub-signature-256", each.encode()) for each in signatures]
    scope = {"type": "http", "path": "/whatsapp/incoming", "headers": headers}
    settings = settings_for(tmp_path, **changes)
    keys, senders = Keys(settings.keys), whatsapp_senders(settings)
    elsewhere = {**scope, "path": "/v1/models"}
    assert _max_bytes(settings, keys, senders, elsewhere) == settings.max_body_bytes
    try:
        found = _max_bytes(settings, keys, senders, scope)
    except UserError as error:
        found = error.status
    assert found == wanted


@contextlib.asynccontextmanager
async def unsent(url: str, *lines: str) -> AsyncIterator[bytes]:
    """Announce a large body to WhatsApp's address, send none of it, and give the status line."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = (
        "POST /whatsapp/incoming HTTP/1.1",
        f"host: {where.netloc}",
        "content-length: 26000000",
        *lines,
    )
    writer.write("\r\n".join((*head, "", "")).encode())
    async with asyncio.timeout(WAIT):
        yield await reader.readline()
    writer.close()


async def test_an_unsigned_delivery_is_refused_before_it_comes(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app:
        async with unsent(app.url, f"x-hub-signature-256: {SIGNED}") as status:
            assert b" 404 " in status
        async with unsent(app.url) as status:
            assert b" 404 " in status
