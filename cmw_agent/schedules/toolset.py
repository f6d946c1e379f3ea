"""The tools with which a model schedules tasks: for the run's own user and conversation alone.

No parameter names a user or a conversation; what a model adds of that kind is passed over.
"""

from collections.abc import Mapping
from typing import Any

from cmw_agent.core.errors import UserError
from cmw_agent.schedules.service import ScheduleService, ScheduleTarget
from cmw_agent.tools.composio.toolset import ComposioResult

SCHEDULE, LIST, CANCEL = "schedule_task", "list_schedules", "cancel_schedule"
NAMES = (SCHEDULE, LIST, CANCEL)


def _tool(name: str, description: str, **parameters: tuple[str, bool]) -> dict[str, Any]:
    properties = {key: {"type": "string"} for key in parameters}
    for key, (text, _) in parameters.items():
        if text:
            properties[key]["description"] = text
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": [key for key, (_, needed) in parameters.items() if needed],
            },
        },
    }


# The same objects for all runs: what is made of a schema for the wire is made once.
SCHEMAS: tuple[dict[str, Any], ...] = (
    _tool(
        SCHEDULE,
        "Have a task done again and again in this conversation. Only when the user asks for it. "
        "If denied, tell them that they can write `/schedule every day at 9: TASK`.",
        when=("'every day at 9', 'weekdays at 7:30', 'every 2 hours' or crontab", True),
        task=("What you will be told then", True),
        time_zone=("IANA name, if known", False),
    ),
    _tool(LIST, "List the user's recurring tasks."),
    _tool(CANCEL, "Cancel a recurring task.", number=("Its number in the list", True)),
)


class ScheduleToolset:
    """See the module's text.

    Args:
        book: Everybody's tasks.
        owner: Whose tasks these are.
        place: The run's conversation.
    """

    __slots__ = ("_book", "_owner", "_place")

    def __init__(self, book: ScheduleService, owner: str, place: ScheduleTarget) -> None:
        self._book = book
        self._owner = owner
        self._place = place

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """What the model is told of the tools."""
        return list(SCHEMAS)

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return list(NAMES)

    def changes(self, name: str) -> bool:
        """Whether a tool changes something: a task goes on using the user's tokens."""
        return name != LIST

    async def use(self, name: str, arguments: Mapping[str, Any]) -> ComposioResult:
        """Run a tool for this box's user, once.

        Raises:
            KeyError: There is no such tool.
        """
        if name not in NAMES:
            raise KeyError(name)
        try:
            return ComposioResult(await self._use(name, arguments), ok=True)
        except UserError as error:
            return ComposioResult(error.sentence, ok=False)

    async def _use(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name == LIST:
            return await self._book.overview(self._owner)
        if name == CANCEL:
            return await self._book.cancel(self._owner, _text(arguments, "number"))
        when, task = _text(arguments, "when"), _text(arguments, "task")
        zone = _text(arguments, "time_zone") or None
        return await self._book.add(self._owner, self._place, when, task, zone)


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    return str(value) if isinstance(value, str | int) else ""
