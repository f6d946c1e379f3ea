"""Interface of the tools of one run, their results, and a toolset that combines several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Result of a tool call.

    Args:
        text: The result for the model.
        ok: Whether the call succeeded.
        link: URL to show to the user, or None.
    """

    text: str
    ok: bool
    link: str | None = None


@runtime_checkable
class Toolset(Protocol):
    """The tools of one run, bound to one user."""

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools' schemas for the model, in OpenAI's form."""

    @property
    def names(self) -> list[str]:
        """The names of the tools."""

    def changes(self, name: str) -> bool:
        """Return whether a tool may change something outside the app; True for unknown names."""

    async def use(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Run a tool for this toolset's user, once."""


class CombinedToolset:
    """Combines several toolsets; where two have a tool of the same name, the first one's is used.

    Args:
        toolsets: All bound to the same user.
    """

    __slots__ = ("_toolsets",)

    def __init__(self, toolsets: Sequence[Toolset]) -> None:
        self._toolsets = toolsets

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools' schemas for the model, in OpenAI's form."""
        return [schema for toolset in self._toolsets for schema in toolset.schemas]

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [name for toolset in self._toolsets for name in toolset.names]

    def changes(self, name: str) -> bool:
        """Return whether a tool may change something outside the app; True for unknown names."""
        toolset = self._toolset_with(name)
        return toolset is None or toolset.changes(name)

    async def use(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Run a tool for this toolset's user, once.

        Raises:
            KeyError: There is no such tool.
        """
        toolset = self._toolset_with(name)
        if toolset is None:
            raise KeyError(name)
        return await toolset.use(name, arguments)

    def _toolset_with(self, name: str) -> Toolset | None:
        return next((toolset for toolset in self._toolsets if name in toolset.names), None)
