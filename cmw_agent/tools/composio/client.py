"""Client of Composio's REST API, shared by all users."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import httpx

from cmw_agent.core.bodies import BodyTooLargeError, bounded

if TYPE_CHECKING:
    from composio_client import AsyncComposio

SECONDS = 30.0  # time-out of one call of Composio, answer included
CONNECTIONS = 500  # at once; further calls wait for a free one
MAX_BODY = 8 * 1024 * 1024  # bytes of one answer
PAGE = 100  # items; parsing larger pages would block the event loop
MAX_PAGES = 20


class ComposioError(Exception):
    """A call of Composio failed.

    Args:
        kind: Kind of failure: "timeout", "unreachable", "cut", "too_large", "malformed",
            "unsuccessful", "foreign_link" or "refused".
        status: HTTP status, where there was an answer.
        slug: Composio's name of the error.
        message: Composio's or the tool's error message.
    """

    def __init__(
        self, kind: str, *, status: int | None = None, slug: str = "", message: str = ""
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status_code = status
        self.slug = slug
        self.message = message

    @property
    def explained(self) -> str:
        """The explanation for the model, which says whether the action may have been done."""
        if self.kind == "unreachable":
            return "the service could not be reached; nothing was done."
        if self.kind == "unsuccessful":
            return self.message
        if self.status_code in (401, 403):
            return "the service refuses this app; only its operator can change that."
        if self.status_code == 429:
            return "the service takes no more calls right now; nothing was done."
        if self.status_code is not None and 400 <= self.status_code < 500:
            return self.message or f"the service refused it ({self.status_code})."
        return f"no usable answer came ({self.kind}); whether it was done is not known."


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in bounded(self._stream, MAX_BODY):
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx.Response) -> None:
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _Bounded(response.stream)


class ComposioClient:
    """Calls Composio's API, with time-outs and bounded answers.

    Args:
        client: Composio's own REST client.
        error: The exception class that `client` raises.
        seconds: Time-out of one call.
    """

    def __init__(
        self, client: "AsyncComposio", error: type[Exception], seconds: float = SECONDS
    ) -> None:
        self.client = client
        self._error = error
        self._seconds = seconds

    async def call(
        self, method: Callable[..., Awaitable[Any]], *path: str, tries: int = 1, **fields: Any
    ) -> Any:
        """Call a method of Composio's client and return the JSON value of its answer.

        Args:
            method: A raw method, such as ``client.tools.with_raw_response.list``.
            path: Parameters of the URL's path.
            tries: Maximum number of attempts; 1 for a call that changes something.
            fields: Fields of the query or body.

        Raises:
            ComposioError: There is no usable answer, or the answer is an error.
        """
        # No redirects: the key must not be sent to another host.
        options = {"max_retries": tries - 1, "follow_redirects": False}
        try:
            async with asyncio.timeout(self._seconds):
                answer = await method(*path, **fields, request_options=options)
                return await answer.parse(to=object)
        except TimeoutError as error:
            raise ComposioError("timeout") from error
        except BodyTooLargeError as error:
            raise ComposioError("too_large") from error
        except (ValueError, RecursionError) as error:
            raise ComposioError("malformed") from error
        except self._error as error:
            raise _composio_error(error) from error

    async def list_all(
        self, method: Callable[..., Awaitable[Any]], **fields: Any
    ) -> list[dict[str, Any]]:
        """Return the items of all pages of a list, up to `MAX_PAGES` pages.

        Raises:
            ComposioError: A page could not be read.
        """
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self.call(method, tries=2, limit=PAGE, **fields, **cursor)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise ComposioError("malformed")
            items += [item for item in page["items"] if isinstance(item, dict)]
            if not isinstance(page.get("next_cursor"), str):
                break
            cursor = {"cursor": page["next_cursor"]}
        return items


def _composio_error(error: Exception) -> ComposioError:
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 300:
        body = getattr(error, "body", None)
        details = body.get("error") if isinstance(body, dict) else None
        fields = details if isinstance(details, dict) else {}
        slug, message = fields.get("slug"), fields.get("message")
        return ComposioError(
            "refused", status=status, slug=str(slug or ""), message=str(message or "")
        )
    if status is not None:
        return ComposioError("malformed", status=None)
    cause = error.__cause__
    if isinstance(cause, httpx.TimeoutException):
        return ComposioError("timeout")
    return ComposioError("unreachable" if isinstance(cause, httpx.ConnectError) else "cut")


@asynccontextmanager
async def open_client(base_url: str, key: str, seconds: float) -> AsyncIterator[ComposioClient]:
    """Yield a `ComposioClient`. Importing its library takes seconds, so a thread does it.

    Args:
        base_url: URL of Composio's API.
        key: API key of the project.
        seconds: Time-out of one call.
    """
    composio = await asyncio.to_thread(importlib.import_module, "composio_client")
    http = httpx.AsyncClient(
        # Shared by all users: a cookie from one user's answer must not be sent with another's
        # request.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=seconds,
        limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=20),
        event_hooks={"response": [_bound]},
    )
    async with http:
        client = composio.AsyncComposio(
            auth=composio.ProjectAuth(key), base_url=base_url, http_client=http, timeout=seconds
        )
        yield ComposioClient(client, composio.ComposioError, seconds)
