"""What users let the operator do with what they write, for the page's settings."""

from collections.abc import Callable, Collection
from typing import cast, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.conversations.service import ConversationService
from cmw_agent.core.errors import InvalidMessageError, NotFoundError
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.web.api.endpoint import body, guarded, text
from memory.records import ConsentKind


class UserConsentRoutes:
    """The routes of consents.

    Args:
        history: Returns the use cases; raises `Unavailable` before the start and after the end.
        offered: The consents that the operator has any use for; users are asked for no other.
    """

    def __init__(
        self, history: Callable[[], ConversationService], offered: Collection[ConsentKind]
    ) -> None:
        self._history = history
        self._offered = frozenset(offered)

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        return [
            Route("/consents", guarded(self.listed, "consents", nobody=_empty)),
            Route("/consents", guarded(self.change, "consents"), methods=["POST"]),
        ]

    async def listed(self, _request: Request, principal: Principal) -> Response:
        """Return the consents that the caller is offered or has given, each with whether it is given."""
        given = await self._history().consents(principal)
        offered = self._offered if principal.is_stored else frozenset[ConsentKind]()
        return JSONResponse({kind: kind in given for kind in sorted(offered | given)})

    async def change(self, request: Request, principal: Principal) -> Response:
        """Give a consent, or take it back, which is always possible."""
        content = await body(request)
        kind, is_given = text(content, "kind"), content.get("agreed")
        if not isinstance(is_given, bool):
            raise InvalidMessageError(
                wording("“{name}” must be true or false.", name="agreed"), status=400
            )
        is_offered = kind in self._offered and principal.is_stored
        if kind not in get_args(ConsentKind) or (is_given and not is_offered):
            raise NotFoundError
        chosen = cast("ConsentKind", kind)
        await self._history().set_consent(principal, chosen, is_given=is_given)
        return JSONResponse({kind: is_given})


def _empty(_: Request) -> Response:
    return JSONResponse({})
