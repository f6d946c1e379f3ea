"""The embed: a chat that other websites show with one line, each to visitors of its own.

A visitor is known by a token that the server has signed for one visitor, one agent and one site. It
comes in ``Authorization`` and no cookie is read, so that a foreign page has nothing to ask with.
The site itself is the one that the browser names: see `cmw_agent.channels.embed.origins`. How it is
drawn is in ``frontend/src/widget``; why so in ``docs/adr/0016-widget-in-a-shadow-root.md``.
"""

import contextlib
import json
import time
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cmw_agent.agent.access import WIDGET
from cmw_agent.channels.common.callers import Caller, Callers, address_of, base_of
from cmw_agent.channels.common.turn_streams import (
    UNSEEN,
    Shape,
    TurnResponse,
    server_sent,
    source_items,
    wait_until_begun,
)
from cmw_agent.channels.embed.origins import CrossSiteHeaders, Site, Sites
from cmw_agent.channels.embed.page import WidgetScript, page
from cmw_agent.chat.turn import TurnReader
from cmw_agent.conversations.sessions import SessionOrigin
from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.core.finish_reasons import sentence_for
from cmw_agent.core.http_headers import bearer_token
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.identity.widget_tokens import WidgetTokens, WidgetVisitor
from cmw_agent.language import Language, joined, wording
from cmw_agent.language.request_language import request_language
from cmw_agent.observability.observers import request_id_of
from cmw_agent.runtime.runtime import Runtime
from cmw_agent.tools.approvals import PendingApproval, seconds_left
from memory.records import StoredMessage

SHOWN = 50  # messages that the widget draws
CHANNEL = "embed"


class UnknownVisitorError(UserError):
    """The token proves nobody, or a visitor of another agent or site; the two look the same."""

    status = 401
    sentence = wording("This chat does not know you any more; please reload the page.")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VisitRequest(_Body):
    """What a widget begins with: the token it has kept, and whether a new conversation begins."""

    token: str | None = Field(None, max_length=1000)
    new: bool = False


class EmbedMessageRequest(_Body):
    """A message; or `again`, answer the last one anew; or `follow`, the answer that waits."""

    message: str = ""
    key: str = Field("", max_length=100)
    again: bool = False
    follow: bool = False


class ApprovalDecisionRequest(_Body):
    """A visitor's decision on a call that waits; without `arguments` it runs with its own."""

    call: str = Field(max_length=200)
    answer: Literal["approved", "denied"]
    arguments: dict[str, Any] | None = None


class EmbedRoutes:
    """The routes of the widget and of the chat's own page.

    Args:
        services: The live parts of the process.
        callers: Gives the sessions.
        identities: Signs the visitors' tokens.
    """

    def __init__(self, services: Runtime, callers: Callers, identities: Identities) -> None:
        self._services = services
        self._callers = callers
        self._tokens = WidgetTokens(identities)
        self._sites = Sites(services, callers, identities)
        self._script = WidgetScript()

    def register(self, app: FastAPI) -> None:
        """Add the routes to `app`, and what their answers tell browsers."""
        for method, path, endpoint in (
            ("GET", "/widget.js", self.script),
            ("GET", "/embed/{agent_id}", self.page),
            ("POST", "/embed/{agent_id}/visit", self.visit),
            ("GET", "/embed/{agent_id}/messages", self.messages),
            ("DELETE", "/embed/{agent_id}/messages", self.forget),
            ("POST", "/embed/{agent_id}/message", self.message),
            ("POST", "/embed/{agent_id}/approvals", self.settle),
        ):
            app.add_api_route(path, endpoint, methods=[method], response_model=None)
        app.add_middleware(CrossSiteHeaders, sites=self._sites)

    async def script(self, request: Request) -> Response:
        """Answer with the widget."""
        return self._script.answer(request)

    async def page(self, agent_id: str, request: Request) -> Response:
        """Answer with the chat as a page."""
        profile = self._callers.profile(agent_id, WIDGET)
        framing = self._sites.framing(request, profile)
        return page(profile, self._sites.stamp(profile, framing), framing)

    async def visit(self, agent_id: str, body: VisitRequest, request: Request) -> Response:
        """Give a visitor its token, a new one where it has none that is valid here.

        Nothing is stored, and no model is asked.
        """
        site = self._sites.of(request, agent_id)
        known = self._verified(body.token or "", agent_id, site)
        if known is None:
            self._services.budgets.spend("new_cookies", None, address_of(request))
        visitor = known or self._tokens.new(agent_id, site.origin)
        if known and body.new:
            await self._callers.begin_anew(known.principal)
        profile = self._callers.profile(agent_id, WIDGET)
        return JSONResponse(
            {
                "token": self._tokens.sign(visitor),
                "session_id": await self._callers.current(visitor.principal),
                "agent": {"name": profile.name},
            }
        )

    async def messages(self, agent_id: str, request: Request) -> Response:
        """Answer with the end of the visitor's conversation, and with the calls that wait."""
        principal, _ = self._visitor(request, agent_id)
        conversation = await self._callers.current(principal)
        memory = self._services.memory_of(principal)
        await self._services.chat.stored(principal.id, conversation)
        stored: list[StoredMessage] = []
        with (
            contextlib.suppress(NotFoundError),
            mapped_store_errors(),
        ):  # not there: nothing was said yet
            stored = await memory.messages(principal.id, conversation, limit=SHOWN)
        now = time.time()
        pending = await self._services.approval_service.pending(principal, conversation)
        return JSONResponse(
            {
                "session_id": conversation,
                "messages": [
                    _message_item(message, request_language(request.scope)) for message in stored
                ],
                "waiting": [_approval_item(approval, now) for approval in pending],
            }
        )

    async def forget(self, agent_id: str, request: Request) -> Response:
        """Delete everything of the visitor for good."""
        principal, _ = self._visitor(request, agent_id)
        return JSONResponse({"deleted": await self._services.history.forget(principal)})

    async def message(self, agent_id: str, body: EmbedMessageRequest, request: Request) -> Response:
        """Answer a message, event by event; one that ends something with a sentence at once."""
        principal, site = self._visitor(request, agent_id)
        language = request_language(request.scope)
        if not body.follow:
            await self._services.chat.admit(principal, address_of(request))
            control_reply = await self._callers.run_control_command(
                principal, body.message, language
            )
            if control_reply is not None:
                current = await self._callers.current(principal)
                return JSONResponse({"session_id": current, "left": control_reply})
        caller = Caller(
            principal,
            agent_id,
            await self._callers.current(principal),
            CHANNEL,
            SessionOrigin(website_domain=site.domain, ip_address=address_of(request)),
            base_of(request),
            can_ask=True,
            address=address_of(request),
            language=language,
        )
        turn = await self._turn(principal, caller, body, request_id_of(request.scope))
        first = await wait_until_begun(turn)
        fields = {"session_id": caller.conversation_id}
        events = server_sent(turn, first, fields, Shape(language=language))
        return TurnResponse(turn, events, {"cache-control": "no-store"})

    async def settle(
        self, agent_id: str, body: ApprovalDecisionRequest, request: Request
    ) -> Response:
        """Approve or deny a call that waits in the visitor's own conversation."""
        principal, _ = self._visitor(request, agent_id)
        conversation = await self._callers.current(principal)
        await self._services.approval_service.answer(
            principal, conversation, body.call, body.answer, body.arguments
        )
        return JSONResponse({})

    async def _turn(
        self, principal: Principal, caller: Caller, body: EmbedMessageRequest, request_id: str
    ) -> TurnReader:
        chat = self._services.chat
        if body.follow and not chat.is_running(principal.id, caller.conversation_id):
            raise NotFoundError  # not admitted, so no session is made
        session = await self._callers.session(principal, caller)
        if body.follow:
            if (joined := chat.join(session)) is None:
                raise NotFoundError
            return joined
        if body.again:
            return chat.regenerate(session, key=body.key, request_id=request_id)
        return chat.turn(session, body.message, key=body.key, request_id=request_id)

    def _visitor(self, request: Request, agent_id: str) -> tuple[Principal, Site]:
        """Return who asks, and where.

        Raises:
            ForeignSiteError: From a page that the agent is not for.
            UnknownVisitorError: The request has no valid token for this agent and site.
        """
        site = self._sites.of(request, agent_id)
        token = bearer_token(request.headers)
        visitor = self._verified(token, agent_id, site) if token is not None else None
        if visitor is None:
            raise UnknownVisitorError
        return visitor.principal, site

    def _verified(self, token: str, agent_id: str, site: Site) -> WidgetVisitor | None:
        visitor = self._tokens.verify(token)
        if visitor is None or (visitor.agent_id, visitor.origin) != (agent_id, site.origin):
            return None
        return visitor


def _message_item(message: StoredMessage, language: Language) -> dict[str, Any]:
    tools = [
        {
            "name": record.name,
            "ok": record.ok,
            "seconds": record.duration_ms / 1000,
            **({"link": record.link} if record.link else {}),
        }
        for record in message.tool_calls
    ]
    notice = sentence_for(message.finish_reason, message.details.note)
    unseen = UNSEEN if message.details.pictures else None
    return {
        "role": message.role,
        "content": message.content,
        "status": message.status,
        "tools": tools,
        "sources": source_items(message.details.sources),
        "notice": language.translate(joined(notice, unseen)) or None,
    }


def _approval_item(approval: PendingApproval, now: float) -> dict[str, Any]:
    # As text: a browser rounds long numbers, and what is approved is shown as it will be sent.
    arguments = json.dumps(sanitize_json(dict(approval.arguments)), ensure_ascii=False, indent=1)
    return {
        "call": approval.approval_id,
        "name": sanitize_json(approval.name),
        "account": approval.account,
        "arguments": arguments,
        "seconds": seconds_left(approval, now),
    }
