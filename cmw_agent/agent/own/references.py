"""Loads objects by names such as ``pkg.module:graph``, or by an entry point's name."""

import importlib
import importlib.metadata
from typing import Any

from cmw_agent.core.errors import StartupError

AGENTS, TOOLS = "cmw_agent.agents", "cmw_agent.tools"  # groups of entry points


def load(reference: str, group: str, subject: str) -> Any:
    """Return the object that `reference` names.

    Args:
        reference: ``package.module:name``, or the name of an entry point that an installed package
            offers.
        group: The group of those entry points.
        subject: Names in errors who needs it.

    Raises:
        StartupError: It cannot be imported, or there is none of that name.
    """
    if ":" not in reference:
        return _entry_point(reference, group, subject)
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except StartupError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise StartupError(f"{subject}: {module_name} cannot be imported ({reason})") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise StartupError(f"{subject}: {module_name} has no {path}")
        found = getattr(found, name)
    return found


def _entry_point(name: str, group: str, subject: str) -> Any:
    found = importlib.metadata.entry_points(group=group)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none is installed"
        raise StartupError(
            f"{subject}: {name!r} is neither package.module:name nor an entry point of {group} "
            f"({known})"
        )
    try:
        return found[name].load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise StartupError(f"{subject}: {name} cannot be loaded ({reason})") from error
