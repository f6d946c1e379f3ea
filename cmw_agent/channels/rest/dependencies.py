"""The parties behind the REST interface, and what its endpoints share.

A session belongs to a key's name, an agent and an id together: the same id under another key, or
at another agent, is another party with conversations of its own. See
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
from cmw_agent.core.logs import get_logger
from cmw_agent.core.sanitize import mended
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity import channel_principals
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime
from memory.records import Conversation

log = get_logger(__name__)

CHANNEL = "rest"
METADATA = "metadata"  # what a key's holder keeps with a conversation
METADATA_SEQ = "metadata_seq"  # the place of the message that it came with
PLACE_CHARS = 60
NOT_JSON = "The body is not JSON in UTF-8."


class SessionNotFoundError(NotFoundError):
    """There is no such session under this key at this agent: another's and none are told alike."""

    sentence = "This session was not found."


def _holder(
    found: Annotated[ApiKey, Depends(key_of)],
    _: Annotated[
        Any,
        Security(HTTPBearer(auto_error=False, description="Of `CMW_API_KEYS`.", scheme_name="key")),
    ],
) -> ApiKey:
    return found


# What endpoints take as their key; its scheme stands in the interface's description.
ApiKeyHolder = Annotated[ApiKey, Depends(_holder)]


def session_of(key: ApiKey, agent_id: str, external_id: str) -> Principal:
    """Return the party that a session is.

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
    """Finds the conversations of parties.

    Args:
        services: The live parts of the process.
        callers: Knows the agents.
    """

    def __init__(self, services: Runtime, callers: Callers) -> None:
        self.services = services
        self.callers = callers

    async def conversation(self, principal: Principal, wanted: str | None = None) -> Conversation:
        """Return a party's conversation that goes on, else its last, or the one that is `wanted`.

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


def told_of(error: Exception) -> UserError:
    """Return what an error means to whoever sent the request."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, RequestValidationError):
        found = error.errors()
        if any(item["type"] == "json_invalid" for item in found):
            return UserError(NOT_JSON, status=400)
        places = {_place(item, error.body) for item in found} - {""}
        told = sorted(each for each in places if not _is_around(each, places))[:5]
        wrong = f" ({', '.join(told)})" if told else ""
        return InvalidMessageError(f"The request is not what this address takes{wrong}.")
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == HTTPStatus.BAD_REQUEST:  # FastAPI's, of a body that it cannot read
        return UserError(NOT_JSON, status=400)
    return UserError("This address takes no such request.", status=status)


def _place(item: Mapping[str, Any], body: Any) -> str:
    """Return the name of what is wrong, as the caller knows it."""
    within, *names = item["loc"]
    if within == "body":
        names = list(_sent(names, body, is_missing=item["type"] == "missing"))
    # What the caller has written may stand in it, and not all of that can be written back.
    return str(mended(".".join(map(str, names))))[:PLACE_CHARS]


def _sent(names: Sequence[int | str], body: Any, *, is_missing: bool) -> Iterator[int | str]:
    """Yield those of `names` that lead through `body`; the others are of the types it may have."""
    for place, name in enumerate(names):
        in_list = isinstance(body, list) and isinstance(name, int) and name < len(body)
        if in_list or (isinstance(body, dict) and name in body):
            body = body[name]
        elif not is_missing or place + 1 < len(names):
            continue
        yield name


def _is_around(place: str, others: Collection[str]) -> bool:
    return any(other.startswith(f"{place}.") for other in others)
