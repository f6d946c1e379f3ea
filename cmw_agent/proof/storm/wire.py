"""HTTP of one person to the target: counted, timed and bounded, and every byte of it is searched."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import inf
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from cmw_agent.proof.storm.errors import AnswerRefusedError, TargetError
from cmw_agent.proof.storm.evidence import Evidence, Person
from cmw_agent.proof.storm.joined_texts import JoinedTexts

MAX_BODY = 20_000_000  # bytes of one response, decompressed
MAX_REDIRECTS = 5
MAX_WAITS = 3  # for a target that limits rates
MAX_WAIT = 20.0  # seconds
TOO_MANY, UNAUTHORIZED, FORBIDDEN, CONFLICT = 429, 401, 403, 409
LOGIN_WORDS = ("login", "signin", "sign-in", "oauth", "auth")


@dataclass(slots=True)
class Budget:
    """How much a run may ask of a target.

    Attributes:
        requests: How many requests are left.
        ends: When the run ends, by the clock of `time.monotonic`.
        sent: How many were sent.
        received: How many bytes were received.
    """

    requests: int
    ends: float
    sent: int = 0
    received: int = 0

    @classmethod
    def of(cls, requests: int, seconds: float) -> Self:
        """Return a budget of so many requests and seconds."""
        return cls(requests, time.monotonic() + seconds)

    def spend(self) -> None:
        """Count a request. Raises TargetError where none is left."""
        if self.requests <= 0:
            raise TargetError("the run's limit of requests was reached; --requests raises it")
        if time.monotonic() > self.ends:
            raise TargetError("the run's time was over; --seconds gives it more")
        self.requests -= 1
        self.sent += 1

    def within(self, seconds: float) -> float:
        """Return so many seconds, or those that are left."""
        return max(0.01, min(seconds, self.ends - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that was read to its end, or to the bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's value. Raises TargetError where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise TargetError("the target answered with something that is no JSON") from None


@dataclass(frozen=True, slots=True)
class Terms:
    """How a target is spoken to.

    Attributes:
        base: Its address, without a slash at its end.
        headers: Sent with each request.
        patience: Seconds that one answer may take.
        trust_env: Whether a proxy of the environment is used.
        verify: What certificates are checked with; False where the address has no TLS.
    """

    base: str
    headers: Mapping[str, str] = field(default_factory=dict)
    patience: float = 30.0
    trust_env: bool = False
    verify: ssl.SSLContext | bool = False


class Wire:
    """One person's connections and cookies; an async context manager.

    Args:
        terms: The target.
        budget: That of the run.
        evidence: Searches all that comes.
        person: Who receives it.
        headers: Sent with each request of this person.
        cookies: Whether cookies are kept.
    """

    def __init__(
        self,
        terms: Terms,
        budget: Budget,
        evidence: Evidence,
        person: Person,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: bool = True,
    ) -> None:
        self.terms = terms
        self.person = person
        self.evidence = evidence
        self.budget = budget
        self._http = httpx.AsyncClient(
            headers={**terms.headers, **(headers or {})},
            cookies=CookieJar(None if cookies else DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(terms.patience, connect=min(10.0, terms.patience)),
            follow_redirects=False,
            trust_env=terms.trust_env,
            verify=terms.verify,
            limits=httpx.Limits(max_connections=20),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, way: str, **options: Any) -> Reply:
        """Send a request of a person who may expect an answer; return a successful response.

        Args:
            method: The HTTP method.
            path: Below the target's address.
            way: What the person does.
            options: Further arguments of `httpx.AsyncClient.request`.

        Raises:
            TargetError: The target refuses, limits, wants a login, redirects elsewhere or hangs.
        """
        reply = await self.try_(method, path, way, **options)
        for _ in range(MAX_WAITS):
            if reply.status != TOO_MANY:
                break
            await asyncio.sleep(self.budget.within(_wait_of(reply.headers)))
            reply = await self.try_(method, path, way, **options)
        check_status(reply.status, path)
        return reply

    async def try_(self, method: str, path: str, way: str, **options: Any) -> Reply:
        """Send a request whose response may be anything. Raises TargetError as `ask`, but no refusal."""
        url = self.terms.base + path
        for _ in range(MAX_REDIRECTS):
            async with self.stream(method, url, way, **options) as (response, texts):
                body = await _read(response, texts)
                reply = Reply(response.status_code, dict(response.headers), body)
            location = reply.headers.get("location")
            if not 300 <= reply.status < 400 or location is None:
                return reply
            url = self._redirected(url, location)
            method, options = "GET", {}
        raise TargetError("the target redirects without an end")

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: str, way: str, *, lasts: bool = False, **options: Any
    ) -> AsyncIterator[tuple[httpx.Response, JoinedTexts]]:
        """Open a response for the block, and search what was read of it at the end.

        Args:
            method: The HTTP method.
            url: A whole address, or a path below the target's.
            way: What the person does.
            lasts: Whether it may last as long as the run.
            options: Further arguments of `httpx.AsyncClient.stream`.

        Raises:
            TargetError: It cannot be had in time.
        """
        self.budget.spend()
        if url.startswith("/"):
            url = self.terms.base + url
        if lasts:
            options["timeout"] = None
        texts = JoinedTexts(MAX_BODY)
        try:
            async with (
                asyncio.timeout(self.budget.within(inf if lasts else self.terms.patience)),
                self._http.stream(method, url, **options) as response,
            ):
                texts.head(response.headers.multi_items())
                yield response, texts
        except TimeoutError:
            raise TargetError(
                f"the target did not end its answer within {self.terms.patience:g} s"
            ) from None
        except httpx.TimeoutException:
            raise TargetError(f"the target was silent for {self.terms.patience:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError) as error:
            raise TargetError(f"the connection failed ({_reason(error)})") from None
        finally:
            self._heard(way, f"{method} {urlsplit(url).path}", texts)

    def _heard(self, way: str, request: str, texts: JoinedTexts) -> None:
        self.person.responses += 1
        self.person.received += texts.size
        self.budget.received += texts.size
        self.evidence.record(self.person, way, request, texts.all())

    def _redirected(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if urlsplit(target)[:2] != urlsplit(self.terms.base)[:2]:
            host = urlsplit(target).netloc or "an unknown place"
            raise TargetError(f"the target redirects elsewhere, to {host}; storm that address")
        if any(word in urlsplit(target).path.lower() for word in LOGIN_WORDS):
            raise TargetError("the target wants a login; --header or --key prove one")
        return target


async def _read(response: httpx.Response, texts: JoinedTexts) -> bytes:
    async for chunk in response.aiter_bytes():
        texts.feed(chunk)
        if texts.is_full:
            raise TargetError(f"a response had more than {MAX_BODY:,} bytes")
    texts.json()
    return texts.body


def check_status(status: int, path: str) -> None:
    """Raise TargetError unless a response that somebody may expect has succeeded."""
    if status in (UNAUTHORIZED, FORBIDDEN):
        raise TargetError(
            f"the target wants a login ({status} at {path}); --header or --key prove one"
        )
    if status == TOO_MANY:
        raise TargetError(
            "the target limits the rate (429); try fewer --users, or raise its limits"
        )
    if status == CONFLICT:
        raise AnswerRefusedError(f"the target was busy (409 at {path})")
    if not 200 <= status < 300:
        raise TargetError(f"the target answered with HTTP {status} at {path}")


def _wait_of(headers: Mapping[str, str]) -> float:
    with contextlib.suppress(ValueError):
        return min(MAX_WAIT, max(0.0, float(headers.get("retry-after", "1"))))
    return 1.0


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
