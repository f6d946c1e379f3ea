"""Tools in Python that the operator gives an agent: functions that get their owner from the app.

    from cmw_agent import Owner, tool

    @tool(changes=False)
    async def orders(owner: Owner, since: str) -> str:
        \"\"\"List the customer's orders since a day.\"\"\"

The model sees `since` alone. What it sends under the name `owner` is ignored.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

import orjson
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ValidationError

from cmw_agent.core.errors import StartupError, describe_exception
from cmw_agent.core.events import ToolAccount
from cmw_agent.core.logs import get_logger
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.toolset import NamedTools, ProgressSink, ToolResult

log = get_logger(__name__)

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class OwnerArgument(InjectedToolArg):
    """Marks a parameter of a tool that gets the id of the run's owner."""


Owner = Annotated[str, OwnerArgument]
"""Type of a tool's parameter that gets the id of the run's owner, which the model cannot set."""


class ProgressArgument(InjectedToolArg):
    """Marks a parameter of a tool that takes how far the call has come."""


Progress = Annotated[Callable[..., None], ProgressArgument]
"""Type of a tool's parameter that takes how much is done, of how much in all, and a message."""


@dataclass(frozen=True, slots=True)
class OwnTool:
    """A tool in Python, the same for all users.

    Attributes:
        name: Its name for the model.
        changes: Whether it may change something outside the app; its user is asked before then.
        schema: Its schema for the model, in OpenAI's form, without the owner.
        base: Runs it.
        owner_arguments: Names of the parameters that get the owner.
        progress_arguments: Names of those that take how far the call has come.
    """

    name: str
    changes: bool
    schema: Mapping[str, Any] = field(repr=False)
    base: BaseTool = field(repr=False)
    owner_arguments: frozenset[str] = frozenset()
    progress_arguments: frozenset[str] = frozenset()

    @classmethod
    def of(cls, value: object, *, changes: bool = True) -> "OwnTool":
        """Return the tool that `value` is.

        Args:
            value: A function of `tool`, a LangChain tool, or a function with a docstring.
            changes: Whether a tool that does not say so may change something.

        Raises:
            StartupError: It is no tool, or no schema can be made of its parameters.
        """
        if isinstance(value, OwnTool):
            return value
        base = value if isinstance(value, BaseTool) else _structured(value, None, None)
        return _own_tool(base, changes=changes)


def tool(
    *, changes: bool, name: str | None = None, description: str | None = None
) -> Callable[[Callable[..., Any]], OwnTool]:
    """Return a decorator that makes a tool of a function.

    The function may be synchronous; it then runs in a thread. A parameter of the type `Owner` gets
    the id of the run's owner.

    Args:
        changes: Whether the tool may change something outside the app. Its user is asked before
            each call then, as `CMW_APPROVAL` says.
        name: Its name for the model; the function's where None.
        description: What the model reads about it; the function's docstring where None.

    Raises:
        StartupError: From the decorator, where no schema can be made of the parameters.
    """

    def decorate(function: Callable[..., Any]) -> OwnTool:
        return _own_tool(_structured(function, name, description), changes=changes)

    return decorate


def _structured(function: object, name: str | None, description: str | None) -> BaseTool:
    if not callable(function):
        raise StartupError(f"a tool must be a function or a LangChain tool, not {function!r:.60}")
    called = name or getattr(function, "__name__", type(function).__name__)
    is_async = asyncio.iscoroutinefunction(function)
    try:
        return StructuredTool.from_function(
            func=None if is_async else function,
            coroutine=function if is_async else None,
            name=called,
            description=description,
        )
    except Exception as error:
        raise StartupError(
            f"the tool {called}: no schema can be made of it ({type(error).__name__}); "
            "give it a docstring, and each parameter a type"
        ) from error


def _own_tool(base: BaseTool, *, changes: bool) -> OwnTool:
    if not NAME.fullmatch(base.name):
        raise StartupError(f"the tool {base.name!r:.60}: a name has 1 to 64 of A-Z a-z 0-9 _ -")
    injected = _injected(base)
    owners, progress = (
        frozenset(name for name, mark in injected.items() if mark is kind)
        for kind in (OwnerArgument, ProgressArgument)
    )
    foreign = sorted(injected.keys() - owners - progress)
    if foreign:
        raise StartupError(
            f"the tool {base.name}: nothing fills its parameter {foreign[0]!r}; "
            "the app injects parameters of the types cmw_agent.Owner and cmw_agent.Progress alone"
        )
    try:
        schema = convert_to_openai_tool(base)
        orjson.dumps(schema)
    except Exception as error:
        raise StartupError(
            f"the tool {base.name}: its schema cannot be sent to a model ({type(error).__name__})"
        ) from error
    return OwnTool(base.name, changes, schema, base, owners, progress)


def _injected(base: BaseTool) -> dict[str, type]:
    """Return the parameters that the model does not see, and what marks each."""
    model = base.args_schema
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    found: dict[str, type] = {}
    for name, info in model.model_fields.items():
        marks = [*info.metadata, *get_args(info.annotation)[1:]]
        kinds = [mark if isinstance(mark, type) else type(mark) for mark in marks]
        for kind in kinds:
            if issubclass(kind, InjectedToolArg):
                found[name] = kind
    return found


def check_names(tools: Iterable[OwnTool], taken: Iterable[str], subject: str) -> None:
    """Check that no two tools of an agent have the same name.

    Args:
        tools: The agent's own tools.
        taken: Names of the tools that it has besides.
        subject: Names the agent in the error.

    Raises:
        StartupError: A name is there twice.
    """
    known = set(taken)
    for item in tools:
        if item.name in known:
            raise StartupError(f"{subject}: there are two tools of the name {item.name}")
        known.add(item.name)


class OwnToolset(NamedTools):
    """The own tools of an agent in one run, bound to the run's owner.

    Args:
        tools: The tools.
        owner: Id of the principal that the run works for.
        seconds: How long a call may take.

    Raises:
        ValueError: The owner is empty.
    """

    __slots__ = ("_owner", "_seconds", "_tools")

    def __init__(self, tools: Sequence[OwnTool], owner: str, seconds: float) -> None:
        if not owner:
            raise ValueError("tools need an owner")
        self._tools = {item.name: item for item in tools}
        super().__init__(self._tools)
        self._owner = owner
        self._seconds = seconds

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
        item = self._tools[name]
        injected: dict[str, Any] = dict.fromkeys(item.owner_arguments, self._owner)
        injected |= dict.fromkeys(item.progress_arguments, progress or _unread)
        given = {**arguments, **injected}
        try:
            async with asyncio.timeout(self._seconds):
                return ToolResult(_text(await item.base.ainvoke(given)), ok=True)
        except ToolException as error:
            return ToolResult(str(error), ok=False)
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
            return ToolResult("Wrong arguments: " + "; ".join(faults), ok=False)
        except TimeoutError:
            log.warning("tool timed out", tool=name, seconds=self._seconds)
            return ToolResult(f"The tool {name} took longer than {self._seconds:g} s.", ok=False)
        except Exception as error:  # noqa: BLE001 (whatever a function of others raises)
            log.warning("tool failed", tool=name, cause=describe_exception(error))
            return ToolResult(f"The tool {name} failed ({type(error).__name__}).", ok=False)


def _unread(*_report: object) -> None:
    """Take a report that nobody reads."""


def _text(result: object) -> str:
    if isinstance(result, str):
        return result
    try:
        return orjson.dumps(result, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return str(result)
