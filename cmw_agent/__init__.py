"""A chat for many users at once, in which nothing of one user reaches another.

The public names are loaded when they are first used, so that ``import cmw_agent`` costs nothing.
Whatever is not in `__all__` may change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmw_agent.agent.agent import CmwAgent
    from cmw_agent.cli.serve import start
    from cmw_agent.config.settings import Settings, load_settings
    from cmw_agent.core.errors import StartupError, UserError
    from cmw_agent.server.build import Application, build_app
    from memory.manager import ConversationMemoryManager

__version__ = "0.1.0"

__all__ = [
    "Application",
    "CmwAgent",
    "ConversationMemoryManager",
    "Settings",
    "StartupError",
    "UserError",
    "__version__",
    "build_app",
    "load_settings",
    "start",
]

_MODULES = {
    "Application": "cmw_agent.server.build",
    "CmwAgent": "cmw_agent.agent.agent",
    "ConversationMemoryManager": "memory.manager",
    "Settings": "cmw_agent.config.settings",
    "StartupError": "cmw_agent.core.errors",
    "UserError": "cmw_agent.core.errors",
    "build_app": "cmw_agent.server.build",
    "load_settings": "cmw_agent.config.settings",
    "start": "cmw_agent.cli.serve",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
