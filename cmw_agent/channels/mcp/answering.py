"""The agents as tools of an MCP server: what a key's holder may ask, and how an agent answers.

A conversation belongs to a key's name, an agent and a random id that only the app makes. With the
protocol up to 2025-11-25 the id is that of the MCP session; a later client has none, and names the
conversation that an earlier answer has named.
"""

import secrets
from typing import Any

from itsdangerous import BadSignature, TimestampSigner
from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from starlette.requests import Request

from cmw_agent.agent.access import by_key
from cmw_agent.channels.common.api_keys import key_of
from cmw_agent.channels.common.turn_streams import Shape, read_result
from cmw_agent.channels.rest.dependencies import ConversationLookup, counted_at, session_of
from cmw_agent.channels.rest.messages import Rest
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.validators import ApiKey
from cmw_agent.core.errors import NotFoundError, UserError
from cmw_agent.identity.principals import Identities
from cmw_agent.language.request_language import request_language
from cmw_agent.llm.visitor_keys import visitor_key
from cmw_agent.observability.observers import request_id_of

ASK = "ask_"  # begins the name of each tool; an agent's id follows
SESSION_ID = "mcp-session-id"
MESSAGE, CONVERSATION = "message", "conversation"
Context = ServerRequestContext[Any, Any]


class McpAnswers:
    """Lists the agents that a key reaches as tools, and has them answer.

    Args:
        lookup: Finds agents and conversations.
        rest: Makes the sessions, which are like those of the REST interface.
        identities: Signs the names of conversations.
    """

    def __init__(self, lookup: ConversationLookup, rest: Rest, identities: Identities) -> None:
        self._lookup = lookup
        self._rest = rest
        self._identities = identities

    async def tools(
        self, context: Context, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """Return a tool for each agent that the request's key reaches."""
        usable = self._lookup.services.agents.usable(by_key(key_of(_request(context))))
        return ListToolsResult(
            tools=[_tool(profile) for profile in usable], ttl_ms=0, cache_scope="private"
        )

    async def answer(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        """Have an agent answer a message; an error is returned as the tool's result.

        Raises:
            MCPError: The call has no message.
        """
        arguments = params.arguments or {}
        message, conversation = arguments.get(MESSAGE), arguments.get(CONVERSATION)
        if not isinstance(message, str) or not isinstance(conversation, str | None):
            raise MCPError(INVALID_PARAMS, "message must be a text")
        request = _request(context)
        try:
            return await self._answer(request, params.name, message, conversation or None)
        except UserError as error:
            text = error.text(request_language(request.scope))
            return CallToolResult(content=[TextContent(text=text)], is_error=True)

    async def _answer(
        self, request: Request, tool: str, message: str, conversation: str | None
    ) -> CallToolResult:
        key = key_of(request)
        agent_id = tool.removeprefix(ASK) if tool.startswith(ASK) else ""
        self._lookup.callers.profile(agent_id, by_key(key))
        external_id = self._external_id(request, key, agent_id, conversation)
        principal = session_of(key, agent_id, external_id)
        services, language = self._lookup.services, request_language(request.scope)
        await services.chat.admit(principal, counted_at(key, request))
        reply = await self._lookup.callers.run_control_command(principal, message, language)
        if reply is None:
            session = await self._rest.session(
                request, key, agent_id, external_id, principal, can_ask=False
            )
            turn = services.chat.turn(
                session,
                message,
                key=secrets.token_hex(16),
                visitor_key=visitor_key(request.headers, services.settings),
                request_id=request_id_of(request.scope),
            )
            reply = (await read_result(turn, Shape(language=language))).text
        named = self._signer(key, agent_id).sign(external_id).decode()
        return CallToolResult(
            content=[TextContent(text=reply)],
            structured_content={"response": reply, CONVERSATION: named},
        )

    def _external_id(
        self, request: Request, key: ApiKey, agent_id: str, conversation: str | None
    ) -> str:
        """Return the id of the session that a call belongs to.

        Raises:
            NotFoundError: The conversation is another key's or agent's, or none.
        """
        if conversation is not None:
            try:
                return self._signer(key, agent_id).unsign(conversation).decode()
            except (BadSignature, UnicodeError):
                raise NotFoundError from None
        # The session manager has checked that the session is this key's.
        return f"mcp-{request.headers.get(SESSION_ID) or secrets.token_hex(16)}"

    def _signer(self, key: ApiKey, agent_id: str) -> TimestampSigner:
        return self._identities.signer(f"mcp.conversation.{agent_id}.{key.name}")


def _request(context: Context) -> Request:
    request = context.request
    if not isinstance(request, Request):
        raise MCPError(INVALID_PARAMS, "the request came by no HTTP")
    return request


def _tool(profile: AgentProfile) -> Tool:
    text = f"Ask the agent {profile.name} and get its whole answer. It remembers the conversation."
    properties = {
        MESSAGE: {"type": "string", "description": "What the agent is asked or told"},
        CONVERSATION: {
            "type": "string",
            "description": "The conversation that an earlier answer has named, to go on with it",
        },
    }
    schema = {"type": "object", "properties": properties, "required": [MESSAGE]}
    return Tool(name=f"{ASK}{profile.id}", description=text, input_schema=schema)
