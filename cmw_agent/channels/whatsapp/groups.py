"""Groups: which of their messages are for the app.

By the settings these are all, none, or those that name the app, reply to it, begin with one of its
prefixes, or decide on a call with the code that the app has asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from cmw_agent.channels.whatsapp.approvals import DIGITS, LETTERS, NO, YES
from cmw_agent.channels.whatsapp.cloud_webhook import USER_ID
from cmw_agent.channels.whatsapp.inbound import GROUP, InboundDelivery, digest
from cmw_agent.config.settings import Settings
from memory.queues.outbox import Outbox

CODE = re.compile(f"[{LETTERS}][{DIGITS}][{LETTERS}]")
AFTER_PREFIX = " ,:;.!-\n"


class GroupRules:
    """Chooses the messages that are for the app.

    Args:
        settings: What is answered in groups.
    """

    def __init__(self, settings: Settings) -> None:
        self._rule = settings.whatsapp_groups
        self._prefixes = settings.whatsapp_prefixes

    async def chosen(self, item: InboundDelivery, outbox: Outbox) -> InboundDelivery | None:
        """Return a delivery, without the prefix of its text; None where it is not for the app.

        Args:
            item: The delivery.
            outbox: Knows the ids of the texts that were sent to groups.

        Raises:
            StoreError: The memory fails.
        """
        message = item.message
        if not message.is_group:
            return item
        if self._rule == "none":
            return None
        bare = without_prefix(message.text, self._prefixes)
        if bare is not None:
            return replace(item, message=replace(message, text=bare))
        is_for_app = self._rule == "all" or message.is_addressed or is_decision(message.text)
        if is_for_app:
            return item
        is_reply = bool(message.reply_to) and await outbox.is_named(
            sent_name(message.chat, message.reply_to)
        )
        return item if is_reply else None


def without_prefix(text: str, prefixes: Sequence[str]) -> str | None:
    """Return what follows a prefix that the text begins with; None where it begins with none."""
    lowered = text.lower()
    for prefix in prefixes:
        rest = text[len(prefix) :]
        if lowered.startswith(prefix.lower()) and (not rest or rest[0] in AFTER_PREFIX):
            return rest.lstrip(AFTER_PREFIX)
    return None


def is_decision(text: str) -> bool:
    """Whether a text is yes or no with a code, as the app asks for it in groups."""
    words = [word.strip(".,!*_/") for word in text.lower().split()]
    return len(words) == 2 and words[0] in YES | NO and CODE.fullmatch(words[1]) is not None


def is_group(kind: str, recipient: str) -> bool:
    """Whether a recipient is a group, by the form of the way out."""
    if kind == "cloud":
        return not recipient.isdigit() and USER_ID.fullmatch(recipient) is None
    return recipient.endswith(GROUP)


def sent_name(chat: str, sent_id: str) -> str:
    """Return the name under which the outbox knows a text that was sent to a group."""
    return digest("sent", chat, sent_id)
