"""The values that labels of metrics and attributes of traces may have.

All other values become `OTHER`, so that neither a user nor a model can create a new series.
"""

from typing import get_args

from cmw_agent.core.events import TurnOutcome
from cmw_agent.observability.observers import REFUSED, REPEATED
from cmw_agent.tools.builtin import BUILT_IN

OTHER = "other"
CONNECTED = "connected"  # a tool of a user's accounts, or a name that a model invented
CHANNELS = ("web", "rest", "embed", "whatsapp", "schedule", OTHER)
ANSWERED = (*get_args(TurnOutcome),)
OUTCOMES = (*ANSWERED, REFUSED, REPEATED, OTHER)
SENDS = ("sent", "again", "failed", "uncertain", OTHER)
RUNS = (*ANSWERED, "limited", "postponed", OTHER)
REFUSALS = (
    *("overloaded", "not_found", "in_use", "invalid", "limited", "unavailable", "failed"),
    OTHER,
)
TOOLS = (*(tool.name for tool in BUILT_IN), CONNECTED)
