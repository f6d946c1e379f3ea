"""Parties: the people of an operator's own channel, each of whom reaches their own conversation alone."""

import re
import secrets
from dataclasses import dataclass

from cmw_agent.agent.access import PARTY
from cmw_agent.channels.common.callers import Caller, Callers
from cmw_agent.channels.common.turn_streams import Shape, TurnResult
from cmw_agent.core.errors import UserError
from cmw_agent.identity import channel_principals
from cmw_agent.identity.principals import Identities, Principal
from cmw_agent.language import languages, wording
from cmw_agent.runtime.runtime import Runtime

CHANNEL = "own"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
MAX_ID = 512  # characters of a person's id
CUT = wording("The answer was cut short.")


class Party:
    """One person of an operator's channel. Made by `cmw_agent.Application.party`.

    It reaches the conversation of this person alone, whoever calls it.
    """

    __slots__ = ("_agent_id", "_callers", "_principal", "_services")

    def __init__(
        self, services: Runtime, callers: Callers, principal: Principal, agent_id: str
    ) -> None:
        self._services = services
        self._callers = callers
        self._principal = principal
        self._agent_id = agent_id

    @property
    def owner(self) -> str:
        """The opaque id under which tools and graphs know this person."""
        return self._principal.id

    async def say(self, text: str, *, key: str | None = None, address: str | None = None) -> str:
        """Send this person's message to the agent and return the whole answer.

        ``/new`` begins another conversation, ``/forget everything`` deletes all of this person.
        Calls of tools that would wait for an approval are denied.

        Args:
            text: The message.
            key: Names the message, 1 to 100 characters: one that is delivered again with its key gets
                the first answer, without another turn.
            address: Network address that sends it, for limits; None counts for none.

        Returns:
            The answer; where it was cut, with a sentence that says so.

        Raises:
            UserError: There is no answer; `str(error)` is one sentence for this person. A limit has
                the `status` 429 and a number of seconds in `retry_after`.
        """
        services, principal = self._services, self._principal
        language = languages().of(services.settings.language)
        await services.chat.admit(principal, address)
        reply = await self._callers.run_control_command(principal, text, language)
        if reply is not None:
            return reply
        caller = Caller(
            principal,
            self._agent_id,
            await self._callers.current(principal),
            CHANNEL,
            address=address,
            language=language,
        )
        session = await self._callers.session(principal, caller)
        result = TurnResult(Shape(language=language))
        turn = services.chat.turn(session, text, key=key or secrets.token_hex(16))
        async with turn:
            async for event in turn:
                result.add(event)
        return _answer(result)


def _answer(result: TurnResult) -> str:
    finished = result.finished
    if finished is None or finished.outcome == "failed":
        sentence = finished.sentence if finished is not None else None
        error_id = finished.error_id if finished is not None else None
        raise UserError(sentence or CUT, status=502, error_id=error_id)
    notice = result.metadata.get("notice")
    return f"{result.text}\n\n{notice}" if notice else result.text


@dataclass(frozen=True, slots=True)
class Parties:
    """Gives an operator's channel its people.

    Args:
        services: The live parts of the process.
        identities: Derives the keys of their sessions.
    """

    services: Runtime
    identities: Identities

    def party(self, channel: str, party_id: str, agent_id: str | None = None) -> Party:
        """Return a person; see `cmw_agent.Application.party`."""
        if not NAME.fullmatch(channel):
            raise ValueError("a channel's name has 1 to 40 small letters, digits, - and _")
        if not 0 < len(party_id) <= MAX_ID:
            raise ValueError(f"a person's id has 1 to {MAX_ID} characters")
        callers = Callers(self.services, self.identities)
        usable = self.services.agents.usable(PARTY)
        named = agent_id if agent_id is not None else usable[0].id if usable else ""
        profile = callers.profile(named, PARTY)
        principal = channel_principals.party(channel, party_id, profile.id)
        return Party(self.services, callers, principal, profile.id)
