"""Toolset with which a model schedules tasks, bound to the run's user and conversation.

No parameter names a user or a conversation; further arguments from the model are ignored.
"""

from collections.abc import Mapping
from typing import Any

from cmw_agent.core.errors import UserError
from cmw_agent.core.events import ToolAccount
from cmw_agent.schedules.service import ScheduleService, ScheduleTarget
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.toolset import ProgressSink, ToolResult, parameters_in

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


# The same objects for all runs, so that the model's cache of converted schemas finds them.
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
    """The scheduling tools of one run, bound to one owner.

    Args:
        service: Recurring tasks of all owners.
        owner: Id of the principal whose tasks these are.
        target: Where new tasks run: the run's conversation.
    """

    __slots__ = ("_owner", "_service", "_target")

    def __init__(self, service: ScheduleService, owner: str, target: ScheduleTarget) -> None:
        self._service = service
        self._owner = owner
        self._target = target

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools' schemas for the model, in OpenAI's form."""
        return list(SCHEMAS)

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return list(NAMES)

    def parameters(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON schema of a tool's arguments; None where there is none."""
        return parameters_in(self.schemas, name)

    def changes(self, name: str) -> bool:
        """Return whether a tool changes something: a task keeps using the user's tokens."""
        return name != LIST

    async def account(self, _name: str) -> ToolAccount | None:
        """Return None: these tools use no account."""
        return None

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Run a tool for this toolset's owner, once.

        Raises:
            KeyError: There is no such tool.
        """
        if name not in NAMES:
            raise KeyError(name)
        try:
            return ToolResult(await self._use(name, arguments), ok=True)
        except UserError as error:
            return ToolResult(error.sentence_in(self._target.language), ok=False)

    async def _use(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name == LIST:
            return await self._service.overview(self._owner, self._target.language)
        if name == CANCEL:
            return await self._service.cancel(
                self._owner, _text(arguments, "number"), self._target.language
            )
        when, task = _text(arguments, "when"), _text(arguments, "task")
        zone = _text(arguments, "time_zone") or None
        return await self._service.add(self._owner, self._target, when, task, zone)


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    return str(value) if isinstance(value, str | int) else ""
