"""The routing of the deployed nginx configuration, with a real nginx and two small servers."""

import asyncio
import contextlib
import io
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests import nginx
from tests.harness import WAIT
from tests.ports import free_port

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Debian's nginx")
ASKED = 40
VISITORS = [f"v{number:032x}" for number in range(24)]


@dataclass(slots=True)
class Replica:
    """A server that says who it is and what it was told."""

    name: str
    port: int = 0
    seen: int = 0
    drains: bool = False
    arrived: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen += 1
        if request.path == "/breaks" and request.transport is not None:
            request.transport.close()
        if request.path.endswith("/held") and not self.drains:
            self.arrived.put_nowait(request.path)
            await self.released.wait()
        if self.drains or request.path == "/full":
            return web.Response(status=503)
        told = {name: value for name, value in request.headers.items() if name.startswith("X-")}
        host = request.headers["Host"]
        return web.json_response({"name": self.name, "told": told, "host": host})


@dataclass(slots=True)
class House:
    """nginx, and the replicas behind it."""

    url: str
    replicas: tuple[Replica, Replica]

    async def whose(self, http: aiohttp.ClientSession, path: str = "/", **headers: str) -> str:
        async with http.get(self.url + path, headers=headers) as answer:
            assert answer.status == 200
            return str((await answer.json())["name"])


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    replicas = Replica("app1"), Replica("app2")
    for replica in replicas:
        await replica.start()
    port = free_port()
    text = nginx.rendered(port, [replica.port for replica in replicas])
    (tmp_path / "nginx.conf").write_text(text, encoding="utf-8")
    words = ["-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "log")]
    try:
        async with asyncio.timeout(WAIT):
            # It goes into the background once it listens.
            starting = await asyncio.create_subprocess_exec(nginx.nginx_program(), *words)
            assert await starting.wait() == 0, (tmp_path / "log").read_text()
        yield House(f"http://127.0.0.1:{port}", replicas)
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((tmp_path / "nginx.pid").read_text()), signal.SIGTERM)
        for replica in replicas:
            await replica.stop()


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(WAIT), cookie_jar=aiohttp.DummyCookieJar()
    )


async def test_a_visitor_stays_with_one_replica_by_whatever_shows_who_it_is(house: House) -> None:
    chosen: list[str] = []
    async with client() as http:
        for who in VISITORS:
            proofs = (
                {"Cookie": f"cmw_visitor={who}.date.signature"},
                {"Cookie": f"other=1; cmw_visitor={who}.later.renewed; more=2"},
                {"Cookie": f"__Host-cmw_visitor={who}.date.signature"},
                {"x-cmw-visitor": f"{who}.date.signature"},
                # the page's script sends the header where the cookie is refused: it goes first
                {"x-cmw-visitor": f"{who}.d.s", "Cookie": f"cmw_visitor={VISITORS[0]}.d.s"},
            )
            found = {await house.whose(http, "/gradio_api/queue/data", **p) for p in proofs}
            assert len(found) == 1, found
            chosen += found
    assert {"app1", "app2"} == set(chosen)


async def test_without_a_cookie_address_and_browser_choose(house: House) -> None:
    async with client() as http:
        browsers = [f"browser {number}" for number in range(24)]
        chosen = {}
        for name in browsers:
            headers = {"User-Agent": name, "Cookie": "xcmw_visitor=1; cmw_visitor=forged"}
            found = {await house.whose(http, path, **headers) for path in ("/", "/embed/a")}
            assert len(found) == 1
            (chosen[name],) = found
    assert set(chosen.values()) == {"app1", "app2"}


async def test_programs_go_to_any_replica_and_metrics_to_none(house: House) -> None:
    async with client() as http:
        for path in ("/api/chat/a/sessions", "/v1/models", "/whatsapp/status", "/widget.js"):
            cookie = {"Cookie": f"cmw_visitor={VISITORS[0]}.d.s"}
            assert len({await house.whose(http, path, **cookie) for _ in range(6)}) == 2, path
        before = [replica.seen for replica in house.replicas]
        async with http.get(f"{house.url}/metrics") as answer:
            assert answer.status == 404
        assert [replica.seen for replica in house.replicas] == before


async def test_a_replica_that_drains_draws_no_more_programs_than_its_share(house: House) -> None:
    first, busy = house.replicas
    first.drains = True

    async def ask(http: aiohttp.ClientSession) -> int:
        async with http.post(f"{house.url}/api/chat/a/held") as answer:
            return answer.status

    asked: list[asyncio.Task[int]] = []
    async with client() as http, asyncio.timeout(WAIT):
        arrival = asyncio.create_task(busy.arrived.get())
        for _ in range(ASKED):
            asked.append(asyncio.create_task(ask(http)))
            # the next one comes when this one was refused, or is being worked on
            await asyncio.wait({asked[-1], arrival}, return_when=asyncio.FIRST_COMPLETED)
            if arrival.done():
                arrival = asyncio.create_task(busy.arrived.get())
        arrival.cancel()
        busy.released.set()
        found = Counter(await asyncio.gather(*asked))
    assert found == {503: first.seen, 200: busy.seen}
    assert first.seen <= ASKED / 2 + 1


async def test_a_client_cannot_say_where_it_comes_from(house: House) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "x"}
    async with client() as http, http.get(house.url, headers=forged) as answer:
        told = await answer.json()
    host = house.url.removeprefix("http://")
    assert told["host"] == host
    assert told["told"]["X-Forwarded-For"] == "127.0.0.1"
    assert told["told"]["X-Forwarded-Proto"] == "http"
    assert told["told"]["X-Forwarded-Host"] == host


async def test_a_dead_replica_is_passed_over_and_no_sent_message_is_sent_again(
    house: House,
) -> None:
    async with client() as http:
        cookie = {"Cookie": f"cmw_visitor={VISITORS[0]}.d.s"}
        async with http.post(f"{house.url}/breaks", headers=cookie) as answer:
            assert answer.status == 502
        assert sum(replica.seen for replica in house.replicas) == 1
        async with http.post(f"{house.url}/full", headers=cookie) as answer:
            assert answer.status == 503
        assert sum(replica.seen for replica in house.replicas) == 2
        first, second = house.replicas
        await first.stop()
        for who in VISITORS:
            cookie = {"Cookie": f"cmw_visitor={who}.d.s"}
            assert await house.whose(http, **cookie) == second.name
            async with http.post(f"{house.url}/message", headers=cookie) as answer:
                assert answer.status == 200  # it had reached nobody


async def test_an_upload_of_the_allowed_size_passes_and_a_larger_one_does_not(
    house: House,
) -> None:
    async with client() as http:
        imports = ("/history/import", "/api/chat/assistant/sessions/one/import")
        for path, size, status in (
            ("/files", 20_000_000, 200),
            ("/files", 23_000_000, 413),
            *((path, 23_000_000, 200) for path in imports),
            *((path, 320_000_000, 413) for path in imports),
            ("/api/chat/assistant/sessions/one", 23_000_000, 413),
        ):
            body = io.BytesIO(bytes(size))
            # Asked first, so that a refusal comes before the body.
            async with http.post(f"{house.url}{path}", data=body, expect100=True) as answer:
                assert answer.status == status, path
