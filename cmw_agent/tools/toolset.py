"""Interface of the tools of one run, their results, and a toolset that combines several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from cmw_agent.core.events import ToolAccount
from cmw_agent.tools.approvals import UserQuestions

ProgressSink = Callable[[float, float | None, str | None], None]
"""Takes how far a tool call has come: how much is done, of how much in all, and a message."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Result of a tool call.

    Args:
        text: The result for the model.
        ok: Whether the call succeeded.
        link: URL to show to the user, or None.
        account: The account that the tool used, or None.
    """

    text: str
    ok: bool
    link: str | None = None
    account: ToolAccount | None = None


@runtime_checkable
class Toolset(Protocol):
    """The tools of one run, bound to one user."""

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools' schemas for the model, in OpenAI's form."""

    @property
    def names(self) -> list[str]:
        """The names of the tools."""

    def parameters(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON schema of a tool's arguments; None where there is none."""

    def changes(self, name: str) -> bool:
        """Return whether a tool may change something outside the app; True for unknown names."""

    async def account(self, name: str) -> ToolAccount | None:
        """Return the account that a call of a tool would use now, where the user has several."""

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Run a tool for this toolset's user, once.

        Args:
            name: Of the tool.
            arguments: As the model gave them, or as the user left them.
            questions: Asks the user what the tool wants to know; None where nobody can be asked.
            progress: Takes how far the call has come; None where nobody reads it.
            account: The account that the user was shown, with which the call is made; None for the
                one that is used now.
        """


def parameters_in(schemas: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Return the JSON schema of a tool's arguments from schemas in OpenAI's form; None for none."""
    functions = (schema.get("function") for schema in schemas)
    found = next(
        (item for item in functions if isinstance(item, Mapping) and item.get("name") == name), {}
    )
    return found.get("parameters")


class NamedTool(Protocol):
    """A tool as toolsets list it."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The tool as sent to the model, in OpenAI's form."""

    @property
    def changes(self) -> bool:
        """Whether it may change something outside the app."""


class NamedTools:
    """What a toolset says of its tools; a subclass runs them.

    Args:
        tools: The tools, by their names for the model.
    """

    __slots__ = ("_named",)

    def __init__(self, tools: Mapping[str, NamedTool]) -> None:
        self._named = tools

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The tools' schemas for the model, in OpenAI's form."""
        shared: list[Any] = [tool.schema for tool in self._named.values()]
        return shared

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return list(self._named)

    def parameters(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON schema of a tool's arguments; None where there is none."""
        tool = self._named.get(name)
        return parameters_in([tool.schema], name) if tool is not None else None

    def changes(self, name: str) -> bool:
        """Return whether a tool may change something outside the app; True for unknown names."""
        tool = self._named.get(name)
        return tool is None or tool.changes

    async def account(self, _name: str) -> ToolAccount | None:
        """Return None: no user has several accounts for these tools."""
        return None


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

    def parameters(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON schema of a tool's arguments; None where there is none."""
        toolset = self._toolset_with(name)
        return toolset.parameters(name) if toolset is not None else None

    def changes(self, name: str) -> bool:
        """Return whether a tool may change something outside the app; True for unknown names."""
        toolset = self._toolset_with(name)
        return toolset is None or toolset.changes(name)

    async def account(self, name: str) -> ToolAccount | None:
        """Return the account that a call of a tool would use now, where the user has several."""
        toolset = self._toolset_with(name)
        return await toolset.account(name) if toolset is not None else None

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Run a tool for this toolset's user, once.

        Raises:
            KeyError: There is no such tool.
        """
        toolset = self._toolset_with(name)
        if toolset is None:
            raise KeyError(name)
        return await toolset.use(name, arguments, questions, progress, account)

    def _toolset_with(self, name: str) -> Toolset | None:
        return next((toolset for toolset in self._toolsets if name in toolset.names), None)
