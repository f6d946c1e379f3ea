"""Channel principals: derives the principals of REST sessions, websites' visitors, phones, shares.

The id of a channel principal is a digest of what the server has verified. It depends on no secret
key, so that it survives a change of keys; knowing it grants no access. Whoever can try all
possible inputs can find the input from the id: see `phone`.
"""

import re
import secrets
from hashlib import sha256

from cmw_agent.identity.principals import Principal

EXTERNAL_ID = re.compile(r"[A-Za-z0-9._:@+-]{1,128}")
WIDGET_TOKEN = re.compile(r"(w[0-9a-f]{32})\|([a-z0-9_-]{1,40})\|(https?://[^|\s]{1,260})")
SHARE_ID = re.compile(r"[A-Za-z0-9_-]{32}")


def tenant(key_name: str) -> str:
    """Return the id of the tenant of an API key, under which its sessions are listed.

    It is derived from the key's name, which can be guessed from it, and not from its secret.
    """
    return "k" + _digest("cmw.tenant", key_name)


def key_owner(key_name: str) -> str:
    """Return the id under which all requests of an API key's name are counted; no principal's."""
    return "l" + _digest("cmw.key_limits", key_name)


def client(key_name: str, agent_id: str, external_id: str) -> Principal:
    """Return the principal of a session of the REST interface.

    Args:
        key_name: Name of the API key.
        agent_id: Id of the agent.
        external_id: The API client's id of the session. The same id under another key or at
            another agent is another principal; whoever guesses it can compute the principal's id.
    """
    return Principal("r" + _digest("cmw.client", key_name, agent_id, external_id), "client")


def phone(chat: str, sender: str, agent_id: str) -> Principal:
    """Return the principal of a sender on WhatsApp; in a group it differs from the one alone.

    The phone number can be found from its id, and from digests of that, by trying all numbers:
    both are personal data like the number itself.

    Args:
        chat: Id of the chat.
        sender: The sender's number.
        agent_id: Id of the agent.
    """
    return Principal("p" + _digest("cmw.phone", chat, sender, agent_id), "phone")


def party(channel: str, party_id: str, agent_id: str) -> Principal:
    """Return the principal of a person of an operator's own channel.

    Args:
        channel: The channel's name.
        party_id: The channel's id of the person, as the operator's code has verified it.
        agent_id: Id of the agent.
    """
    return Principal("x" + _digest("cmw.party", channel, party_id, agent_id), "party")


def is_phone(owner: str) -> bool:
    """Whether an owner's id is that of a sender on WhatsApp."""
    return owner.startswith("p")


def new_share_id() -> str:
    """Return a new unguessable id of a share (192 random bits, URL-safe)."""
    return secrets.token_urlsafe(24)


def share(share_id: str) -> Principal:
    """Return the principal of a share's link: all who have the link are it, and it is nobody else.

    It owns the share's snapshot and nothing besides.

    Args:
        share_id: The unguessable id that stands in the link.
    """
    return Principal("s" + _digest("cmw.share", share_id), "share")


def conversation_after(principal: Principal, previous: str | None) -> str:
    """Return the id of a channel principal's next conversation.

    Every replica derives the same id, so that two replicas that begin it at once begin one
    conversation.

    Args:
        principal: Owner of the conversation.
        previous: Id of the conversation that has ended; None for the first one.
    """
    return "c" + _digest("cmw.conversation", principal.id, previous or "")


def _digest(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()[:32]
