"""An OpenID provider as a real HTTP server, and an attacker's proxy in front of it."""

import asyncio
import base64
import contextlib
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import orjson
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import Key, KeySet, RSAKey
from yarl import URL

from tests.harness import WAIT, Browser
from tests.ports import free_port

Claims = dict[str, Any]
CLIENT = "chat"
CONSENT = "/login/consent"
USERS = (
    {"sub": "1", "preferred_username": "alice", "name": "root"},
    {"sub": "2", "preferred_username": "bob"},
    {"sub": "3", "preferred_username": "root"},
    {"sub": "4"},
)


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[str]:
    """Run the provider as a process of its own for the block; give its address."""
    port = free_port()
    users = [part for user in USERS for part in ("--user-claims", orjson.dumps(user).decode())]
    command = ("-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), *users)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ},
    )
    try:
        async with asyncio.timeout(WAIT):
            while not await _answers(port):
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


class Forger:
    """A proxy in front of the provider that changes its ID tokens and signs them with its own key.

    Attributes:
        upstream: The provider's URL.
        key: The signing key, which its key set publishes.
        change: Changes the claims before they are signed.
        write: Signs the claims.
        host: The Host header that the provider gets, if not the proxy's own.
        posted: The forms of the token requests.
        authorizations: The Authorization headers of the token requests.
        describe: Changes the discovery document.
        userinfo: Changes what the userinfo endpoint says.
        published: Further keys of the key set, as they are sent.
        prefix: A path of the provider's address, such as Entra's `/common`.
        refuses: The error code with which the token endpoint refuses, if it does.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.key: Key = RSAKey.generate_key(2048, {"kid": "here", "use": "sig", "alg": "RS256"})
        self.change: Callable[[Claims], Claims] = dict
        self.write: Callable[[Claims], str] = self.signed
        self.host: str | None = None
        self.posted: list[dict[str, str]] = []
        self.authorizations: list[str] = []
        self.describe: Callable[[Claims], Claims] = dict
        self.userinfo: Callable[[Claims], Claims] = dict
        self.published: list[Any] = []
        self.refuses: str | None = None
        self.prefix = ""

    def signed(self, claims: Claims) -> str:
        """Return the claims signed with the published key."""
        return jwt.encode({"alg": "RS256", "kid": "here"}, claims, self.key)

    async def answer(self, request: web.Request) -> web.Response:
        """Forward a request, and change the key set and the ID tokens."""
        if request.path == "/jwks":
            own = KeySet([self.key]).as_dict(private=False)["keys"]
            return web.json_response({"keys": [*self.published, *own]})
        if request.path.endswith("/token") and self.refuses is not None:
            return web.json_response({"error": self.refuses}, status=400)
        body = await request.read()
        path = request.path_qs.removeprefix(self.prefix)
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        if self.host is not None:
            headers["Host"] = self.host
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, self.upstream + path, data=body, headers=headers
            ) as answer,
        ):
            content, status = await answer.read(), answer.status
        if request.path.endswith("/token") and status == 200:
            sent = parse_qs(body.decode())
            self.posted.append({name: values[0] for name, values in sent.items()})
            self.authorizations.append(request.headers.get("Authorization", ""))
            content = self._forged(content)
        for end, change in (("openid-configuration", self.describe), ("userinfo", self.userinfo)):
            if request.path.endswith(end) and status == 200:
                content = orjson.dumps(change(orjson.loads(content)))
        return web.Response(body=content, status=status, content_type="application/json")

    def _forged(self, content: bytes) -> bytes:
        tokens = orjson.loads(content)
        part = tokens["id_token"].split(".")[1]
        claims = orjson.loads(_decoded(part))
        tokens["id_token"] = self.write(self.change(claims))
        return orjson.dumps(tokens)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@contextlib.asynccontextmanager
async def forging(upstream: str) -> AsyncIterator[tuple[str, Forger]]:
    """Run a forger for the block; yields its URL and itself."""
    forger = Forger(upstream)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forger.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", forger
    finally:
        await runner.cleanup()


async def begin_sign_in(browser: Browser, path: str | None = None) -> str:
    """Begin a sign-in; return the provider's URL that the browser is redirected to."""
    params = {} if path is None else {"next": path}
    async with browser.http.get(
        f"{browser.url}/login", params=params, allow_redirects=False
    ) as answer:
        assert answer.status == 303, await answer.text()
        return answer.headers["location"]


async def sign_in_at_provider(address: str, subject: str, **form: str) -> str:
    """Sign in at the provider as `subject`; return the callback URL that it redirects to."""
    data = form or {"sub": subject}
    async with (
        aiohttp.ClientSession() as session,
        session.post(address, data=data, allow_redirects=False) as answer,
    ):
        assert answer.status == 302, await answer.text()
        return answer.headers["location"]


async def open_callback(browser: Browser, address: str) -> tuple[int, str]:
    """Open the callback URL; return the status, and the Location header or else the page."""
    async with browser.http.get(URL(address, encoded=True), allow_redirects=False) as answer:
        return answer.status, answer.headers.get("location") or await answer.text()


async def sign_in(
    browser: Browser, subject: str, path: str | None = None, *, choice: str = "move"
) -> str:
    """Sign in, with `choice` on the consent page where it is shown; return the final path."""
    status, led = await open_callback(
        browser, await sign_in_at_provider(await begin_sign_in(browser, path), subject)
    )
    assert status == 303, led
    if led == CONSENT:
        status, content = await send_consent(browser, choice)
        assert status == 200, content
        return str(content["next"])
    return led


async def sign_in_to_consent(browser: Browser, subject: str, path: str | None = None) -> str:
    """Sign in as far as the consent page; return that page."""
    back = await sign_in_at_provider(await begin_sign_in(browser, path), subject)
    assert await open_callback(browser, back) == (303, CONSENT)
    return await consent_page(browser)


async def consent_page(browser: Browser) -> str:
    """Return the consent page."""
    async with browser.http.get(browser.url + CONSENT, allow_redirects=False) as answer:
        assert answer.status == 200, answer.status
        return await answer.text()


def listed_digest(page: str) -> str:
    """Return the digest of the list on a consent page."""
    return page.partition('data-shown="')[2].partition('"')[0]


async def send_consent(
    browser: Browser, choice: str, digest: str | None = None, **options: Any
) -> tuple[int, Any]:
    """Send the decision as the page's script does; return the status and the JSON."""
    if digest is None and choice == "move":
        digest = listed_digest(await consent_page(browser))
    sent = {"json": {"choice": choice, "shown": digest}, **options}
    async with browser.http.post(browser.url + CONSENT, **sent) as answer:
        return answer.status, await answer.json()


async def sign_out(browser: Browser, **headers: str) -> int:
    """Sign out as the page's script does; return the status."""
    headers = headers or {"origin": browser.url}
    async with browser.http.post(
        f"{browser.url}/logout", json={}, headers=headers, allow_redirects=False
    ) as answer:
        return answer.status


def cookie(browser: Browser, name: str = "cmw_visitor") -> str:
    """Return the value of a cookie of the browser; empty without one."""
    morsel = browser.http.cookie_jar.filter_cookies(_site(browser)).get(name)
    return morsel.value if morsel is not None else ""


def set_cookie(browser: Browser, value: str, name: str = "cmw_visitor") -> None:
    """Set a cookie of the browser."""
    browser.http.cookie_jar.update_cookies({name: value}, _site(browser))


def _site(browser: Browser) -> Any:
    return URL(browser.url)


def query_of(address: str) -> dict[str, str]:
    """Return the query parameters of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def other_key(claims: Claims) -> str:
    """Return the claims signed with a key that is not published."""
    key = RSAKey.generate_key(2048, {"kid": "here"})
    return jwt.encode({"alg": "RS256", "kid": "here"}, claims, key)


def late(claims: Claims) -> Claims:
    """Return claims that have expired."""
    return {**claims, "exp": int(time.time()) - 600}


def random_nonce(claims: Claims) -> Claims:
    """Return claims with the nonce of another sign-in."""
    return {**claims, "nonce": secrets.token_urlsafe(16)}
