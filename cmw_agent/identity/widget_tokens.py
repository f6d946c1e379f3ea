"""Tokens of visitors of other websites, who use the embedded widget."""

import secrets
from dataclasses import dataclass

from itsdangerous import BadSignature

from cmw_agent.identity.channel_principals import WIDGET_TOKEN
from cmw_agent.identity.principals import TOKEN_SECONDS, Identities, Principal


@dataclass(frozen=True, slots=True)
class WidgetVisitor:
    """A visitor of a website: the principal, the agent's id, and the origin of the site."""

    principal: Principal
    agent_id: str
    origin: str


class WidgetTokens:
    """Signs and verifies the tokens of widget visitors, each for one agent and one site.

    Args:
        identities: Provides the signing keys.
    """

    def __init__(self, identities: Identities) -> None:
        self._signer = identities.signer("widget")

    def new(self, agent_id: str, origin: str) -> WidgetVisitor:
        """Return a visitor with a new principal."""
        principal = Principal("w" + secrets.token_hex(16), "widget")
        return WidgetVisitor(principal, agent_id, origin)

    def sign(self, visitor: WidgetVisitor) -> str:
        """Return the token that proves a visitor, for its agent and site only."""
        text = f"{visitor.principal.id}|{visitor.agent_id}|{visitor.origin}"
        return self._signer.sign(text).decode()

    def verify(self, token: str) -> WidgetVisitor | None:
        """Return the visitor whom `token` proves, or None; the caller compares agent and site."""
        try:
            signed = self._signer.unsign(token, max_age=TOKEN_SECONDS).decode()
        except (BadSignature, UnicodeError):
            return None
        match = WIDGET_TOKEN.fullmatch(signed)
        if match is None:
            return None
        return WidgetVisitor(Principal(match[1], "widget"), match[2], match[3])
