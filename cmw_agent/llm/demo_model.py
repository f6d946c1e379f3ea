"""Demo model: a chat model that needs neither a key nor a network, and says so.

It is deterministic, streams word by word, calls the built-in tools and answers from
the messages of the conversation, in the reader's language, so that the whole app can be tried
before a model is configured.
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
from pydantic import Field

from cmw_agent.language import Language, languages
from cmw_agent.llm import demo_phrases

# Linear: each match is one run of characters or starts at a sign, so that no stretch of text is
# scanned from two starting points.
SUM = re.compile(r"[\d.()][\d\s.()+*/^%-]*")
OPERATION = re.compile(r"[\d)]\s*+[-+*/^%]\s*+[\d.(]")

DemoToolCall = tuple[str, dict[str, Any]]


class DemoModel(BaseChatModel):
    """A deterministic chat model that runs in the process.

    Attributes:
        pause: Seconds between two words of a streamed answer.
        language: The language that it speaks; it understands English beside it.
    """

    pause: float
    language: Language = Field(default_factory=lambda: languages().english)

    def in_language(self, language: Language) -> "DemoModel":
        """Return the same model in another language."""
        return self.model_copy(update={"language": language})

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
        names += [tool["function"]["name"] for tool in tools if isinstance(tool, dict)]
        return self.bind(tool_names=names, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = respond(messages, kwargs.get("tool_names", ()), self.language)
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
        reply = respond(messages, kwargs.get("tool_names", ()), self.language)
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


def respond(
    messages: Sequence[BaseMessage], tool_names: Sequence[str], language: Language
) -> str | DemoToolCall:
    """Return the demo's answer to a conversation, or the tool call that must come first.

    Args:
        messages: The conversation, oldest first.
        tool_names: Names of the tools that may be called.
        language: The language of the answer.
    """
    if messages and isinstance(messages[-1], ToolMessage):
        return _with_result(messages[-1], language)
    user_texts = [_text_of(m) for m in messages if isinstance(m, HumanMessage)]
    if not user_texts:
        return explanation(language)
    call = _tool_for(user_texts[-1], tool_names, language)
    return call if call is not None else _answer(user_texts, language)


def _text_of(message: HumanMessage) -> str:
    """Return a message's text, each of its parts, such as the content of a file, on lines of its own."""
    parts = message.content if isinstance(message.content, list) else [message.content]
    texts = [part if isinstance(part, str) else part.get("text", "") for part in parts]
    return "\n\n".join(filter(None, texts))


def explanation(language: Language) -> str:
    """Return what the demo says of itself."""
    tricks = language.gettext(
        "I am the **demo model**: I run without a key and without a network, and I only know a few "
        "tricks. Tell me your name and ask for it later, ask for the time in a city, give me a sum, or "
        "say *count to 100* and stop me on the way."
    )
    keys = language.gettext(
        "For real answers set `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for a server of your own, and "
        "start the app again."
    )
    return f"{tricks}\n\n{keys}"


def _with_result(message: ToolMessage, language: Language) -> str:
    result = str(message.text)
    if message.status == "error":
        return language.gettext("That did not work. {reason}", reason=result)
    if message.name == "current_time":
        return language.gettext("It is {time}.", time=demo_phrases.time_in(language, result))
    return language.gettext("That makes {result}.", result=result)


def _tool_for(text: str, tool_names: Sequence[str], language: Language) -> DemoToolCall | None:
    if "current_time" in tool_names:
        if city := demo_phrases.city(text, language):
            return "current_time", {"time_zone": city}
        if demo_phrases.asks_for_time(text, language):
            return "current_time", {"time_zone": "UTC"}
    if "calculate" in tool_names:
        for match in SUM.finditer(text):
            if OPERATION.search(match[0]):
                return "calculate", {"expression": match[0].strip().strip(" .")}
    return None


def _answer(user_texts: Sequence[str], language: Language) -> str:
    text = user_texts[-1]
    if demo_phrases.asks_for_name(text, language):
        names = [name for earlier in user_texts for name in demo_phrases.names(earlier, language)]
        if names:
            return language.gettext("Your name is {name}!", name=names[-1])
        return language.gettext("I don't know your name yet.")
    if given := demo_phrases.names(text, language):
        return language.gettext(
            "Hello, {name}! I will remember your name in this conversation.", name=given[0]
        )
    if count := demo_phrases.count(text, language):
        return ", ".join(str(number) for number in range(1, count + 1)) + "."
    if demo_phrases.greets(text, language):
        hello = language.gettext("Hello!")
        return f"{hello} {explanation(language)}"
    if demo_phrases.asks_for_abilities(text, language):
        return explanation(language)
    wrote = language.gettext("You wrote: {text}", text=text)
    nth = language.gettext("(Message {number} of this conversation.)", number=len(user_texts))
    return f"{wrote}\n\n{nth} {explanation(language)}"


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
