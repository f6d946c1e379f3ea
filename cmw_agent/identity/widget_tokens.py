"""Signs and verifies the tokens of visitors of other websites."""

import secrets
from dataclasses import dataclass

from itsdangerous import BadSignature

from cmw_agent.identity.channel_principals import WIDGET_TOKEN
from cmw_agent.identity.principals import TOKEN_SECONDS, Identities, Principal


@dataclass(frozen=True, slots=True)
class WidgetVisitor:
    """A visitor of a website: who, at which agent, and the origin of the site."""

    principal: Principal
    agent_id: str
    origin: str


class WidgetTokens:
    """Signs and verifies what a website's visitor is known by, at one agent and one site."""

    def __init__(self, identities: Identities) -> None:
        self._signer = identities.signer("widget")

    def new(self, agent_id: str, origin: str) -> WidgetVisitor:
        """Return a visitor that nobody has ever been before."""
        made = Principal("w" + secrets.token_hex(16), "widget")
        return WidgetVisitor(made, agent_id, origin)

    def sign(self, visitor: WidgetVisitor) -> str:
        """Return the token that proves a visitor, at this agent and this site alone."""
        text = f"{visitor.principal.id}|{visitor.agent_id}|{visitor.origin}"
        return self._signer.sign(text).decode()

    def verify(self, token: str) -> WidgetVisitor | None:
        """Return whom `token` proves, or None. Whether agent and site fit is the caller's."""
        try:
            signed = self._signer.unsign(token, max_age=TOKEN_SECONDS).decode()
        except (BadSignature, UnicodeError):
            return None
        found = WIDGET_TOKEN.fullmatch(signed)
        if found is None:
            return None
        return WidgetVisitor(Principal(found[1], "widget"), found[2], found[3])
