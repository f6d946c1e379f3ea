"""What the endpoints of the REST interface share: keys, session principals, errors.

A session belongs to a key's name, an agent and an id together: the same id under another key, or
at another agent, is another principal with conversations of its own. See
``docs/adr/0015-rest-sessions-are-parties.md``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import Request

from cmw_agent.channels.common.api_keys import key_of
from cmw_agent.channels.common.callers import Callers, address_of
from cmw_agent.config.validators import ApiKey
from cmw_agent.core.errors import InvalidMessageError, NotFoundError, UserError
from cmw_agent.core.sanitize import sanitize_json
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity import channel_principals
from cmw_agent.identity.principals import Principal
from cmw_agent.language import wording
from cmw_agent.runtime.runtime import Runtime
from memory.records import Conversation

CHANNEL = "rest"
METADATA = "metadata"  # what a key's holder keeps with a conversation
METADATA_SEQ = "metadata_seq"  # the place of the message that it came with
PLACE_CHARS = 60
NOT_JSON = wording("The body is not JSON in UTF-8.")


class SessionNotFoundError(NotFoundError):
    """This key has no such session at this agent; another's and none look the same."""

    sentence = wording("This session was not found.")


def _holder(
    key: Annotated[ApiKey, Depends(key_of)],
    _: Annotated[
        Any,
        Security(HTTPBearer(auto_error=False, description="Of `CMW_API_KEYS`.", scheme_name="key")),
    ],
) -> ApiKey:
    return key


# What endpoints take as their key; its scheme stands in the interface's description.
ApiKeyHolder = Annotated[ApiKey, Depends(_holder)]


def session_of(key: ApiKey, agent_id: str, external_id: str) -> Principal:
    """Return the principal of a session.

    Raises:
        SessionNotFoundError: No session can have this id.
    """
    if not channel_principals.EXTERNAL_ID.fullmatch(external_id):
        raise SessionNotFoundError
    return channel_principals.client(key.name, agent_id, external_id)


def counted_at(key: ApiKey, request: Request) -> str | None:
    """Return the network address that a message counts for, beside its session.

    A key that pages may use is in everybody's hands, so their addresses count. With any other, it
    is a program that asks for many people from one address: its holder answers for them.
    """
    return address_of(request) if key.origins else None


class ConversationLookup:
    """Finds the conversations of sessions.

    Args:
        services: The live parts of the process.
        callers: Knows the agents.
    """

    def __init__(self, services: Runtime, callers: Callers) -> None:
        self.services = services
        self.callers = callers

    async def conversation(self, principal: Principal, wanted: str | None = None) -> Conversation:
        """Return a session's open conversation, else its last, or the one that is `wanted`.

        Raises:
            SessionNotFoundError: There is none, or it is another's.
            UserError: The memory fails.
        """
        memory = self.services.memory_of(principal)
        try:
            with mapped_store_errors():
                if wanted is not None:
                    return await memory.conversation(principal.id, wanted)
        except NotFoundError:
            raise SessionNotFoundError from None
        if (latest := await self.callers.latest(principal)) is None:
            raise SessionNotFoundError
        return latest


def to_user_error(error: Exception) -> UserError:
    """Return what an error means to the client."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, RequestValidationError):
        errors = error.errors()
        if any(item["type"] == "json_invalid" for item in errors):
            return UserError(NOT_JSON, status=400)
        all_names = {_field_name(item, error.body) for item in errors} - {""}
        names = sorted(each for each in all_names if not _is_parent(each, all_names))[:5]
        named = f" ({', '.join(names)})" if names else ""
        return InvalidMessageError(
            wording("The request is not what this address takes{named}.", named=named)
        )
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == HTTPStatus.BAD_REQUEST:  # FastAPI's, of a body that it cannot read
        return UserError(NOT_JSON, status=400)
    return UserError(wording("This address takes no such request."), status=status)


def _field_name(item: Mapping[str, Any], body: Any) -> str:
    """Return the name of what is wrong, as the caller knows it."""
    within, *names = item["loc"]
    if within == "body":
        names = list(_sent_names(names, body, is_missing=item["type"] == "missing"))
    # What the caller has written may stand in it, and not all of that can be written back.
    return str(sanitize_json(".".join(map(str, names))))[:PLACE_CHARS]


def _sent_names(names: Sequence[int | str], body: Any, *, is_missing: bool) -> Iterator[int | str]:
    """Yield those of `names` that lead through `body`; the others are of the types it may have."""
    for index, name in enumerate(names):
        in_list = isinstance(body, list) and isinstance(name, int) and name < len(body)
        if in_list or (isinstance(body, dict) and name in body):
            body = body[name]
        elif not is_missing or index + 1 < len(names):
            continue
        yield name


def _is_parent(name: str, others: Collection[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in others)
