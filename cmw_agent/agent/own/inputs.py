"""The form in which a graph or a runnable takes a conversation, and gives its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.runnables import Runnable

from cmw_agent.agent.agent import EARLIER
from cmw_agent.core.errors import StartupError

TEXTS = ("input", "question", "query", "text", "message", "topic")
HISTORIES = ("chat_history", "history")
ANSWERS = ("output", "answer", "response", "result", "text")


@dataclass(frozen=True, slots=True)
class InputForm:
    """What a runnable takes.

    Attributes:
        messages: Key of the list of messages; "" where the list itself is the input, None where
            it takes none.
        text: Key of the last message's text; "" where the text itself is the input, None where
            it takes none.
        history: Key of the messages before the last one, or None.
    """

    messages: str | None
    text: str | None = None
    history: str | None = None

    @classmethod
    def of_runnable(cls, runnable: Runnable[Any, Any], subject: str) -> "InputForm":
        """Return what `runnable` takes, as its input schema says.

        Raises:
            StartupError: It takes neither messages nor a text.
        """
        try:
            schema: Mapping[str, Any] = runnable.get_input_jsonschema()
        except Exception:  # noqa: BLE001 (it cannot be described: messages are the usual input)
            return cls("messages" if hasattr(runnable, "aget_state") else "")
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return cls(None, "") if schema.get("type") == "string" else cls("")
        if "messages" in properties:
            return cls("messages")
        names = [name for name in TEXTS if name in properties]
        others = [name for name in schema.get("required", ()) if name not in HISTORIES]
        text = next(iter(names or others), None)
        if text is None or set(others) - {text}:
            raise StartupError(
                f"{subject}: its input must have messages, or one text such as input or question, "
                f"not {', '.join(properties) or 'nothing'}"
            )
        history = next((name for name in HISTORIES if name in properties), None)
        return cls(None, text, history)

    def of(self, messages: Sequence[BaseMessage], summary: str) -> Any:
        """Return the input for a conversation.

        Args:
            messages: The conversation; the last one is the user's.
            summary: Summary of what came before them; empty without one.
        """
        before = [SystemMessage(f"{EARLIER}\n{summary}")] if summary else []
        if self.text is None:
            everything = [*before, *messages]
            return {self.messages: everything} if self.messages else everything
        last = str(messages[-1].text)
        if not self.text:
            return last
        given: dict[str, Any] = {self.text: last}
        if self.history is not None:
            given[self.history] = [*before, *messages[:-1]]
        return given

    def answer(self, value: object) -> object:
        """Return the answer in what a runnable streams or a graph's state holds; None for none."""
        if not isinstance(value, Mapping):
            return value
        found = value.get("messages")
        if isinstance(found, Sequence) and found and not isinstance(found, str):
            return found[-1]
        for name in ANSWERS:
            if isinstance(value.get(name), (str, BaseMessage)):
                return value[name]
        return None
