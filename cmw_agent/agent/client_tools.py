"""Tools that the caller of a turn runs itself: the model's calls of them are returned to it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage

from cmw_agent.llm.accumulator import WIRE


@dataclass(frozen=True, slots=True)
class ClientTools:
    """The tools of one caller in one turn; a tool of the agent's with the same name is not offered.

    Args:
        schemas: The tools in the form of OpenAI's chat completions.
        are_only: Whether the agent's own tools are not offered, as where the caller wants one of
            its tools to be called.
    """

    schemas: tuple[dict[str, Any], ...] = ()
    are_only: bool = False

    @property
    def names(self) -> list[str]:
        """The tools' names."""
        return [schema["function"]["name"] for schema in self.schemas]

    def offered(self, own: Sequence[Any], own_names: Sequence[str]) -> list[Any]:
        """Return what the model is offered: the agent's `own` tools, named alike, and these."""
        names = set(self.names)
        pairs = zip(own, own_names, strict=True)
        offered = [] if self.are_only else [tool for tool, name in pairs if name not in names]
        return [*offered, *self.schemas]

    def calls_in(self, answer: AIMessage) -> tuple[Mapping[str, Any], ...]:
        """Return the calls of these tools in a message, as the model's server sent them."""
        names = set(self.names)
        called = [call for call in answer.tool_calls if call["name"] in names]
        wire = answer.additional_kwargs.get(WIRE) or {}
        sent = {call["id"]: call for call in wire.get("tool_calls") or ()}
        return tuple(sent.get(call["id"]) or _on_wire(call) for call in called)


def _on_wire(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call["args"])}
    return {"id": call["id"], "type": "function", "function": function}
