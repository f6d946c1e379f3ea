"""The app of all channels that speak HTTP; the guard sends it the routes that are theirs."""

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmw_agent.channels.bodies import BoundedBodies
from cmw_agent.channels.callers import Callers
from cmw_agent.channels.problems import problem
from cmw_agent.errors import InvalidMessage, UserError, frames
from cmw_agent.identity import Identities
from cmw_agent.services import Services

log = logging.getLogger(__name__)

BASE64 = 4 / 3  # a media message's bytes for each of its file's


@dataclass(frozen=True, slots=True)
class Channels:
    """The app, and what it does beside answering requests."""

    app: FastAPI

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do that for the block, inside of which the services are open."""
        yield


def open_channels(services: Services, identities: Identities) -> Channels:
    """Return the channels; nothing is opened before the process's lifespan begins.

    Args:
        services: The live parts of the process.
        identities: Signs what visitors of websites are known by.
    """
    app = FastAPI(title="CMW Agent", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(UserError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(BoundedBodies, most=partial(_most, services))
    app.add_middleware(_Caught)
    callers = Callers(services, identities)
    _ = callers
    return Channels(app)


def _most(services: Services, scope: Scope) -> int:
    settings = services.settings
    if scope["path"] == "/whatsapp/incoming":
        return settings.max_body_bytes + int(settings.max_file_bytes * BASE64)
    return settings.max_body_bytes


async def _told(request: Request, error: Exception) -> Response:
    return problem(error if isinstance(error, UserError) else UserError())


async def _invalid(request: Request, error: Exception) -> Response:
    places = [".".join(map(str, item["loc"][1:])) for item in getattr(error, "errors", list)()]
    wrong = f" ({', '.join(places[:5])})" if any(places) else ""
    return problem(InvalidMessage(f"The request is not what this address takes{wrong}."))


async def _refused(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    return problem(UserError("This address takes no such request.", status=status))


class _Caught:
    """ASGI middleware that tells of what nobody foresaw, and logs it without its text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 (told to the caller, named in the log)
            told = UserError()
            log.error("channel failed error_id=%s cause=%s", told.error_id, frames(error))  # noqa: TRY400
            if not has_begun:
                await problem(told)(scope, receive, send)
