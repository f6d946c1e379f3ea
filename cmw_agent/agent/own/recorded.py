"""Has the calls of a model, or a tool, of an agent's own recorded, and answered from a recording.

    from cmw_agent import recorded

    model = recorded(ChatOpenAI(model="…"))
    graph = create_agent(model, tools=[recorded(search)])

In a graph or chain the model finds the run's tape by itself; a function hands it on, as in
``model.astream(messages, run.config)``. Where nothing is recorded, the model is asked as ever.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, overload

import orjson
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    messages_to_dict,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool

from cmw_agent.agent.own.recorded_tools import recorded_tool
from cmw_agent.agent.own.tapes import tape_of
from cmw_agent.recording.tape import RunTape

TAPE = "cmw_tape"  # the argument by which a call gets its run's tape


class RecordedModel(BaseChatModel):
    """A chat model whose calls go by the tape of the run that makes them.

    Attributes:
        model: The model.
    """

    model: BaseChatModel

    @property
    def _llm_type(self) -> str:
        return f"recorded-{self.model._llm_type}"  # noqa: SLF001 (LangChain's own way to name one)

    def bind_tools(self, tools: Sequence[Any], **more: Any) -> Runnable[Any, Any]:
        """Return the model with tools bound, as the model itself binds them."""
        bound: Any = self.model.bind_tools(tools, **more)
        return self.bind(**bound.kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002 (LangChain's name)
        config: RunnableConfig | None = None,
        **more: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream the answer; see LangChain's `BaseChatModel.astream`."""
        async for chunk in super().astream(input, config, **_with_tape(config, more)):
            yield chunk

    async def ainvoke(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **more: Any,
    ) -> AIMessage:
        """Return the answer; see LangChain's `BaseChatModel.ainvoke`."""
        return await super().ainvoke(input, config, **_with_tape(config, more))

    def _generate(self, messages: list[BaseMessage], *given: Any, **more: Any) -> ChatResult:
        more.pop(TAPE, None)  # a call that blocks is not recorded
        return self.model._generate(messages, *given, **more)  # noqa: SLF001

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **more: Any,
    ) -> ChatResult:
        tape: RunTape | None = more.pop(TAPE, None)

        async def ask() -> AsyncIterator[Any]:
            result = await self.model._agenerate(messages, stop, **more)  # noqa: SLF001
            yield result.generations[0].message.model_dump(mode="json")

        if tape is None:
            return await self.model._agenerate(messages, stop, run_manager, **more)  # noqa: SLF001
        pieces = [piece async for piece in tape.pieces(_request(messages, stop, more), ask)]
        return ChatResult(generations=[ChatGeneration(message=_message(pieces[0]))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **more: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        tape: RunTape | None = more.pop(TAPE, None)
        chunks = self.model._astream(messages, stop, **more)  # noqa: SLF001

        async def ask() -> AsyncIterator[Any]:
            async for chunk in chunks:
                yield _piece(chunk.message)

        if tape is None:
            async for chunk in chunks:
                yield chunk
            return
        async for piece in tape.pieces(_request(messages, stop, more), ask):
            message = _message(piece)
            if isinstance(message, AIMessageChunk):
                yield ChatGenerationChunk(message=message)


@overload
def recorded(item: BaseChatModel) -> RecordedModel: ...


@overload
def recorded(item: BaseTool) -> StructuredTool: ...


def recorded(item: BaseChatModel | BaseTool) -> RecordedModel | StructuredTool:
    """Return a model, or a tool, whose calls are recorded with the turns that make them.

    Args:
        item: A chat model, or a tool that LangChain's `tool` made of a function.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(item, BaseChatModel):
        return RecordedModel(model=item)
    if isinstance(item, StructuredTool):
        return recorded_tool(item)
    raise TypeError(f"{type(item).__name__} is no chat model and no tool made of a function")


def _with_tape(config: RunnableConfig | None, more: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments with the tape of its run, where there is one."""
    tape = tape_of(config)
    return more if tape is None else {**more, TAPE: tape}


def _request(
    messages: Sequence[BaseMessage], stop: list[str] | None, more: dict[str, Any]
) -> dict[str, Any]:
    """Return a request to a model as JSON, without the random ids of its messages."""
    contents = messages_to_dict(messages)
    for message in contents:
        message["data"].pop("id", None)
    request = {"messages": contents, "stop": stop, "options": more}
    plain: dict[str, Any] = orjson.loads(
        orjson.dumps(request, default=str, option=orjson.OPT_NON_STR_KEYS)
    )
    return plain


def _piece(message: BaseMessage) -> dict[str, Any]:
    """Return a piece of an answer as JSON, without what follows from its other fields."""
    piece = message.model_dump(mode="json")
    if piece.get("tool_call_chunks"):
        del piece["tool_calls"], piece["invalid_tool_calls"]
    return piece


def _message(piece: Any) -> AIMessage:
    kind = AIMessageChunk if piece.get("type") == AIMessageChunk.__name__ else AIMessage
    return kind.model_validate(piece)
