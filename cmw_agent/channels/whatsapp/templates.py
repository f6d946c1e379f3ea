"""Templates: what Meta lets an app send to people who have not written for 24 hours.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmw_agent.config.settings import Settings
from memory.queues.window_store import ServiceWindows
from memory.queues.windows import Call, WindowRule

TEMPLATE = "cloud_template"  # kind of the sends
CLOSED_WINDOW = "meta_131047"  # Meta's refusal of a text whose recipient has not written for a day
MAX_CHARS = 300  # of a parameter; a template's text has 1,024 with it
SPACE = re.compile(r"\s+")  # a parameter has no line ends, and at most four spaces


@dataclass(frozen=True, slots=True)
class WindowGate:
    """Holds texts that need an open service window; `rule` says which, and how people are called."""

    windows: ServiceWindows
    rule: WindowRule

    async def settle(self) -> int:
        """Hold what must wait and release what need not; return how many were held."""
        return await self.windows.settle(self.rule)


def window_gate(settings: Settings, windows: ServiceWindows) -> WindowGate | None:
    """Return what holds texts that go by the Cloud API; None where none do."""
    if settings.whatsapp_access_token is None or settings.whatsapp_phone_number_id is None:
        return None
    if settings.whatsapp_template is None:
        return WindowGate(windows, WindowRule("cloud"))
    has_text = settings.whatsapp_template_body == "beginning"
    call = Call(TEMPLATE, beginning if has_text else _nothing, _new_id)
    return WindowGate(windows, WindowRule("cloud", call))


def beginning(text: str) -> str:
    """Return the beginning of a text as a parameter."""
    line = SPACE.sub(" ", text[: 4 * MAX_CHARS]).strip()
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 1].rstrip() + "…"


def template_body(settings: Settings, parameter: str) -> Mapping[str, Any]:
    """Return the part of a message to Meta that says which template it is."""
    template: dict[str, Any] = {
        "name": settings.whatsapp_template or "",
        "language": {"code": settings.whatsapp_template_language},
    }
    if parameter:
        values = [{"type": "text", "text": parameter}]
        template["components"] = [{"type": "body", "parameters": values}]
    return {"type": "template", "template": template}


def _nothing(_: str) -> str:
    return ""


def _new_id() -> str:
    return f"template.{secrets.token_hex(16)}"
