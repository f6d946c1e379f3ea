"""Several boxes of tools as one."""

from collections.abc import Mapping, Sequence
from typing import Any

from cmw_agent.runs import Box, Used


class Boxes:
    """What a run's boxes hold together; where two have a tool of one name, it is the first's.

    Args:
        boxes: All for the same user.
    """

    __slots__ = ("_boxes",)

    def __init__(self, boxes: Sequence[Box]) -> None:
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

    async def use(self, name: str, arguments: Mapping[str, Any]) -> Used:
        """Run a tool for the user, once.

        Raises:
            KeyError: There is no such tool.
        """
        box = self._with(name)
        if box is None:
            raise KeyError(name)
        return await box.use(name, arguments)

    def _with(self, name: str) -> Box | None:
        return next((box for box in self._boxes if name in box.names), None)
