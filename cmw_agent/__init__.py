"""A chat for many users at once, in which nothing of one user reaches another.

The public names are loaded when they are first used, so that ``import cmw_agent`` costs nothing.
Whatever is not in `__all__` may change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmw_agent.agent.agent import CmwAgent
    from cmw_agent.agent.own.definition import Agent
    from cmw_agent.agent.own.recorded import recorded
    from cmw_agent.agent.own.run import Run
    from cmw_agent.channels.parties import Party
    from cmw_agent.cli.serve import create_app, start
    from cmw_agent.config.settings import Settings, load_settings
    from cmw_agent.core.errors import StartupError, UserError
    from cmw_agent.core.events import (
        Source,
        SourcesCited,
        TextDelta,
        ThinkingDelta,
        ToolFinished,
        ToolStarted,
    )
    from cmw_agent.server.build import Application, build_app
    from cmw_agent.server.mounting import mount
    from cmw_agent.tools.own_tools import Owner, OwnTool, Progress, tool
    from memory.manager import ConversationMemoryManager

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Application",
    "CmwAgent",
    "ConversationMemoryManager",
    "OwnTool",
    "Owner",
    "Party",
    "Progress",
    "Run",
    "Settings",
    "Source",
    "SourcesCited",
    "StartupError",
    "TextDelta",
    "ThinkingDelta",
    "ToolFinished",
    "ToolStarted",
    "UserError",
    "__version__",
    "build_app",
    "create_app",
    "load_settings",
    "mount",
    "recorded",
    "start",
    "tool",
]

_MODULES = {
    "Agent": "cmw_agent.agent.own.definition",
    "Application": "cmw_agent.server.build",
    "CmwAgent": "cmw_agent.agent.agent",
    "ConversationMemoryManager": "memory.manager",
    "OwnTool": "cmw_agent.tools.own_tools",
    "Owner": "cmw_agent.tools.own_tools",
    "Party": "cmw_agent.channels.parties",
    "Progress": "cmw_agent.tools.own_tools",
    "Run": "cmw_agent.agent.own.run",
    "Settings": "cmw_agent.config.settings",
    "Source": "cmw_agent.core.events",
    "SourcesCited": "cmw_agent.core.events",
    "StartupError": "cmw_agent.core.errors",
    "TextDelta": "cmw_agent.core.events",
    "ThinkingDelta": "cmw_agent.core.events",
    "ToolFinished": "cmw_agent.core.events",
    "ToolStarted": "cmw_agent.core.events",
    "UserError": "cmw_agent.core.errors",
    "build_app": "cmw_agent.server.build",
    "create_app": "cmw_agent.cli.serve",
    "load_settings": "cmw_agent.config.settings",
    "mount": "cmw_agent.server.mounting",
    "recorded": "cmw_agent.agent.own.recorded",
    "start": "cmw_agent.cli.serve",
    "tool": "cmw_agent.tools.own_tools",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
