"""What answers tool calls in a replay: the cassette, fixed texts, or a model that plays the tools."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import orjson
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import StructuredTool

from cmw_agent.core.errors import StartupError
from cmw_agent.core.events import ToolAccount
from cmw_agent.proof.replay.cassette import Cassette, RecordedCall
from cmw_agent.proof.replay.tape import ReplayTape
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.toolset import ProgressSink, ToolResult

ToolSource = Literal["cassette", "stub", "model"]
NOT_ON_IT = "This call is not on the cassette, so the tool gave nothing."
STUB = "(A stub answered; the tool was not run.)"
NO_STUBS: Mapping[str, str] = MappingProxyType({})


class Answerer(Protocol):
    """Answers a tool call."""

    async def answer(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Return a result; the tool itself is not run."""


class CassetteAnswers:
    """Answers with what was recorded; each recorded call is used once.

    Args:
        tape: The turn's.
    """

    def __init__(self, tape: ReplayTape) -> None:
        self._tape = tape
        self._calls = list(tape.cassette.calls)

    async def answer(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Return the recorded result of an equal call."""
        found = next((each for each in self._calls if _is_same(each, name, arguments)), None)
        if found is None:
            return ToolResult(NOT_ON_IT, ok=False)
        self._calls.remove(found)
        await self._tape.reach(found.seq, 0.0)
        if found.result is None:
            await self._tape.end()
        result = found.result or {}
        await self._tape.reach(result["seq"], result["seconds"])
        return ToolResult(result["text"], result["ok"], result["link"])


class StubAnswers:
    """Answers with fixed texts.

    Args:
        texts: The results by the tools' names; others get one sentence.
    """

    def __init__(self, texts: Mapping[str, str] = NO_STUBS) -> None:
        self._texts = texts

    async def answer(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Return a tool's text."""
        return ToolResult(self._texts.get(name, STUB), ok=True)


class ModelAnswers:
    """Has a model play the tools, by LangChain's `LLMToolEmulator`.

    Args:
        model: The model.
        schemas: The tools, in OpenAI's form: the model reads what they are for.
    """

    def __init__(self, model: BaseChatModel, schemas: list[dict[str, Any]]) -> None:
        # LangChain's agents take half a second, which other replays save.
        from langchain.agents.middleware import LLMToolEmulator  # noqa: PLC0415

        self._emulator = LLMToolEmulator(model=model)
        functions = [schema["function"] for schema in schemas]
        self._tools = {each["name"]: _described(each) for each in functions}

    async def answer(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Return what the model says that the tool would return."""
        from langchain.agents.middleware import ToolCallRequest  # noqa: PLC0415

        request = ToolCallRequest(
            tool_call={"name": name, "args": dict(arguments), "id": "emulated"},
            tool=self._tools.get(name),
            state={},
            runtime=None,  # type: ignore[arg-type] # there is no graph, and the emulator reads none
        )
        message: Any = await self._emulator.awrap_tool_call(request, _never)
        return ToolResult(str(message.text), ok=True)


class ReplayToolset:
    """The tools that were offered in the recording; none of them is run.

    Args:
        cassette: The turn.
        answerer: Answers their calls.
    """

    def __init__(self, cassette: Cassette, answerer: Answerer) -> None:
        self.schemas: list[dict[str, Any]] = list(cassette.given["tools"])
        offered = [schema["function"]["name"] for schema in self.schemas]
        self.names = list(dict.fromkeys([*offered, *(call.name for call in cassette.calls)]))
        self._answerer = answerer

    def parameters(self, name: str) -> None:
        """Return no schema: arguments that do not fit have their recorded result too."""

    def changes(self, name: str) -> bool:
        """Return False for each tool, so that a replay asks for no approval."""
        return False

    async def account(self, _name: str) -> ToolAccount | None:
        """Return None: a replay asks for no approval."""
        return None

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Answer a call."""
        return await self._answerer.answer(name, arguments)


def read_stubs(path: Path | None) -> Mapping[str, str]:
    """Return the fixed results of a JSON file, by the tools' names; none without a file.

    Raises:
        StartupError: It cannot be read, or is no such file.
    """
    if path is None:
        return NO_STUBS
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise StartupError(f"{path} cannot be read ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise StartupError(f"{path} must be a JSON object of texts by the tools' names")
    return {
        name: each if isinstance(each, str) else json.dumps(each) for name, each in value.items()
    }


def _is_same(call: RecordedCall, name: str, arguments: Mapping[str, Any]) -> bool:
    return call.name == name and call.arguments == dict(arguments)


def _described(function: Mapping[str, Any]) -> StructuredTool:
    return StructuredTool(
        name=function["name"],
        description=function.get("description") or "",
        args_schema=function.get("parameters") or {"type": "object", "properties": {}},
        func=_nothing,
    )


def _nothing() -> str:
    return ""


async def _never(_request: Any) -> Any:
    raise RuntimeError("every tool is emulated")
