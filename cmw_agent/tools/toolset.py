"""The tools of one run: what a toolset offers, and several of them as one."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ToolResult(Protocol):
    """What came of a connected tool; see `cmw_agent.tools.composio.toolset.ComposioResult`."""

    @property
    def text(self) -> str:
        """For the model."""

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""

    @property
    def link(self) -> str | None:
        """What the user is to be shown, if anything."""


@runtime_checkable
class Toolset(Protocol):
    """One user's connected tools; see `cmw_agent.tools.composio.toolset.ComposioToolset`."""

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """What the model is told of them."""

    @property
    def names(self) -> list[str]:
        """What they are called."""

    def changes(self, name: str) -> bool:
        """Whether a tool may change something outside."""

    async def use(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Run a tool for this user, once."""


class CombinedToolset:
    """What a run's boxes hold together; where two have a tool of one name, it is the first's.

    Args:
        boxes: All for the same user.
    """

    __slots__ = ("_boxes",)

    def __init__(self, boxes: Sequence[Toolset]) -> None:
        self._boxes = boxes

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """What the model is told of the tools."""
        return [schema for box in self._boxes for schema in box.schemas]

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [name for box in self._boxes for name in box.names]

    def changes(self, name: str) -> bool:
        """Whether a tool may change something outside; True also for one that is not known."""
        box = self._with(name)
        return box is None or box.changes(name)

    async def use(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Run a tool for the user, once.

        Raises:
            KeyError: There is no such tool.
        """
        box = self._with(name)
        if box is None:
            raise KeyError(name)
        return await box.use(name, arguments)

    def _with(self, name: str) -> Toolset | None:
        return next((box for box in self._boxes if name in box.names), None)
