"""Demo model: a chat model that needs neither a key nor a network, and says so.

It is deterministic, streams word by word, calls the built-in tools and answers from
the messages of the conversation, so that the whole app can be tried before a model is
configured.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

NAME_GIVEN = re.compile(r"\bmy name is\s+([^\W\d_][\w'’-]*)", re.IGNORECASE)
NAME_ASKED = re.compile(r"\b(what(?:'s| is) my name|who am i)\b", re.IGNORECASE)
TIME_NAMED = re.compile(r"\b(?:time|date|day)\b", re.IGNORECASE)
PLACE_BACKWARDS = re.compile(r"\s*\??\s*([A-Za-z_/\s-]*)")
PLACE = re.compile(r"(?:^|[^A-Za-z_])in\s+([A-Za-z].*[A-Za-z])", re.IGNORECASE | re.DOTALL)
TIME_ANYWHERE = re.compile(r"\bwhat(?:'s| is)? (?:the )?(?:time|date|day)\b", re.IGNORECASE)
# Linear: each match is one run of characters or starts at a sign, so that no stretch of text is
# scanned from two starting points.
SUM = re.compile(r"[\d.()][\d\s.()+*/^%-]*")
OPERATION = re.compile(r"[\d)]\s*+[-+*/^%]\s*+[\d.(]")
COUNT_ASKED = re.compile(r"\bcount to (\d{1,4})\b", re.IGNORECASE)
GREETING = re.compile(r"^\s*(hi|hello|hey|good (morning|day|evening))\b", re.IGNORECASE)

EXPLANATION = (
    "I am the **demo model**: I run without a key and without a network, and I only know a "
    "few tricks. Tell me your name and ask for it later, ask for the time in a city, give me "
    "a sum, or say *count to 100* and stop me on the way.\n\n"
    "For real answers set `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for a server of your own, "
    "and start the app again."
)

DemoToolCall = tuple[str, dict[str, Any]]


class DemoModel(BaseChatModel):
    """A deterministic chat model that runs in the process.

    Attributes:
        pause: Seconds between two words of a streamed answer.
    """

    pause: float

    @property
    def _llm_type(self) -> str:
        return "cmw-demo"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model bound to the names of `tools`."""
        names = [tool.name for tool in tools if isinstance(tool, BaseTool)]
        return self.bind(tool_names=names, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = respond(messages, kwargs.get("tool_names", ()))
        if isinstance(reply, str):
            message = AIMessage(content=reply)
        else:
            name, arguments = reply
            call = {"name": name, "args": arguments, "id": _call_id(messages)}
            message = AIMessage(content="", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        reply = respond(messages, kwargs.get("tool_names", ()))
        if not isinstance(reply, str):
            yield _chunk(_tool_call(reply, _call_id(messages)))
            return
        words = list(_words(reply))
        for index, word in enumerate(words):
            if index:
                await asyncio.sleep(self.pause)
            chunk = _chunk(AIMessageChunk(content=word))
            if run_manager is not None:
                await run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk
        usage = UsageMetadata(
            input_tokens=sum(len(str(m.text).split()) for m in messages),
            output_tokens=len(words),
            total_tokens=sum(len(str(m.text).split()) for m in messages) + len(words),
        )
        yield _chunk(AIMessageChunk(content="", usage_metadata=usage))


def respond(messages: Sequence[BaseMessage], tool_names: Sequence[str]) -> str | DemoToolCall:
    """Return the demo's answer to a conversation, or the tool call that must come first.

    Args:
        messages: The conversation, oldest first.
        tool_names: Names of the tools that may be called.
    """
    if messages and isinstance(messages[-1], ToolMessage):
        result = str(messages[-1].text)
        if messages[-1].status == "error":
            return f"That did not work. {result}"
        return f"{'It is' if messages[-1].name == 'current_time' else 'That makes'} {result}."
    user_texts = [str(m.text) for m in messages if isinstance(m, HumanMessage)]
    if not user_texts:
        return EXPLANATION
    call = _tool_for(user_texts[-1], tool_names)
    return call if call is not None else _answer(user_texts)


def _tool_for(text: str, tool_names: Sequence[str]) -> DemoToolCall | None:
    if "current_time" in tool_names:
        if city := _city(text):
            return "current_time", {"time_zone": city}
        if TIME_ANYWHERE.search(text):
            return "current_time", {"time_zone": "UTC"}
    if "calculate" in tool_names:
        for match in SUM.finditer(text):
            if OPERATION.search(match[0]):
                return "calculate", {"expression": match[0].strip().strip(" .")}
    return None


def _city(text: str) -> str | None:
    """Return the city in a question such as "What time is it in Tokyo?", or None."""
    line = text.strip().rpartition("\n")[2]
    if TIME_NAMED.search(line) is None:
        return None
    # Matched backwards, so that the run of letters at the end is scanned once.
    backwards = PLACE_BACKWARDS.match(line[::-1])
    match = PLACE.search(backwards[1][::-1]) if backwards is not None else None
    return match[1] if match is not None else None


def _answer(user_texts: Sequence[str]) -> str:
    text = user_texts[-1]
    if NAME_ASKED.search(text):
        names = [m.group(1) for earlier in user_texts for m in NAME_GIVEN.finditer(earlier)]
        return f"Your name is {names[-1]}!" if names else "I don't know your name yet."
    if given := NAME_GIVEN.search(text):
        return f"Hello, {given.group(1)}! I will remember your name in this conversation."
    if count := COUNT_ASKED.search(text):
        return ", ".join(str(number) for number in range(1, int(count.group(1)) + 1)) + "."
    if GREETING.search(text):
        return f"Hello! {EXPLANATION}"
    nth = len(user_texts)
    return f"You wrote: {text}\n\n(Message {nth} of this conversation.) {EXPLANATION}"


def _words(text: str) -> Iterator[str]:
    return (match.group() for match in re.finditer(r"\S+\s*|\s+", text))


def _call_id(messages: Sequence[BaseMessage]) -> str:
    return f"demo_{len(messages)}"


def _tool_call(call: DemoToolCall, call_id: str) -> AIMessageChunk:
    name, arguments = call
    chunk = tool_call_chunk(name=name, args=json.dumps(arguments), id=call_id, index=0)
    return AIMessageChunk(content="", tool_call_chunks=[chunk])


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)
