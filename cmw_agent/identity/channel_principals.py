"""Principals of those who come by another way than the page: REST, websites, WhatsApp.

Each of them is a party of their own, whose id is made here from what the server has verified. It
rests on no secret key, so that it outlives a change of keys; nobody is let in by it. Nor does it
hide what it is made of from whoever can try all of that: see `phone`.
"""

import re
from hashlib import sha256

from cmw_agent.identity.principals import Principal

EXTERNAL_ID = re.compile(r"[A-Za-z0-9._:@+-]{1,128}")
WIDGET_TOKEN = re.compile(r"(w[0-9a-f]{32})\|([a-z0-9_-]{1,40})\|(https?://[^|\s]{1,260})")


def tenant(key_name: str) -> str:
    """Return the id under which a key of the REST interface lists its sessions.

    It is made of the key's name alone, which may be guessed from it, and not of its secret.
    """
    return "k" + _digest("cmw.tenant", key_name)


def client(key_name: str, agent_id: str, external_id: str) -> Principal:
    """Return the party that a session of the REST interface is.

    The same id under another key, or at another agent, is another party. Whoever can guess
    `external_id` can tell the party by its id.
    """
    return Principal("r" + _digest("cmw.client", key_name, agent_id, external_id), "client")


def phone(chat: str, sender: str, agent_id: str) -> Principal:
    """Return the party that a sender on WhatsApp is: in a group another than alone.

    Its id, and each name made of that, can be turned back by whoever tries all phone numbers:
    it is personal data as the number is.
    """
    return Principal("p" + _digest("cmw.phone", chat, sender, agent_id), "phone")


def conversation_after(principal: Principal, previous: str | None) -> str:
    """Return the id of the conversation that follows an ended one, or of the first.

    Every replica makes the same one of the same, so that two that begin it at once begin one.
    """
    return "c" + _digest("cmw.conversation", principal.id, previous or "")


def _digest(*parts: str) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()[:32]
