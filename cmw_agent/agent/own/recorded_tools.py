"""Has the calls of a tool in an agent's own graph recorded, and answered from a recording.

The tool's own function is replaced, since a callback of LangChain hears of a result and cannot give one.
"""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool, ToolException

from cmw_agent.agent.own.tapes import tape_of

# What looks like JSON only to orjson would come back as something else.
STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def recorded_tool(original: StructuredTool) -> StructuredTool:
    """Return a tool whose asynchronous calls go by the tape of the run that makes them.

    A replay answers a call whose result was JSON, or a `ToolException`. A call that gave anything
    else, such as LangGraph's `Command`, runs anew.
    """
    shown = frozenset(original.args)  # what the model gives, without what the graph injects

    async def call(*args: Any, config: RunnableConfig, **given: Any) -> Any:
        tape, results, errors = tape_of(config), list[Any](), list[Exception]()
        if tape is None:
            return await original._arun(*args, config=config, **given)  # noqa: SLF001

        async def ask() -> AsyncIterator[Any]:
            try:
                results.append(await original._arun(*args, config=config, **given))  # noqa: SLF001
                yield _outcome(results[0])
            except Exception as error:  # noqa: BLE001 (raised again below)
                errors.append(error)
                yield {"error": str(error)} if isinstance(error, ToolException) else {}

        arguments = {name: value for name, value in given.items() if name in shown}
        request = orjson.loads(
            orjson.dumps({"tool": original.name, "arguments": arguments}, default=str)
        )
        [outcome] = [piece async for piece in tape.pieces(request, ask)]
        if errors:
            raise errors[0]
        if results:
            return results[0]
        if "error" in outcome:
            raise ToolException(outcome["error"])
        if "result" not in outcome:
            return await original._arun(*args, config=config, **given)  # noqa: SLF001
        result = outcome["result"]
        return tuple(result) if original.response_format == "content_and_artifact" else result

    copy: StructuredTool = original.model_copy(update={"coroutine": call})
    return copy


def _outcome(result: Any) -> dict[str, Any]:
    """Return a result for the tape; nothing where it is no JSON."""
    try:
        return {"result": orjson.loads(orjson.dumps(result, option=STRICT))}
    except TypeError:
        return {}
