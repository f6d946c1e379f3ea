"""The parameters of a chat completion that go on to the model's server, and the caller's tools."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cmw_agent.agent.client_tools import ClientTools
from cmw_agent.channels.openai.messages import cleaned
from cmw_agent.channels.openai.models import ChatRequest
from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.language import wording

# Fields of a request that a model's server gets as they are, where they are set.
PASSED_ON = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "logit_bias",
    "verbosity",
)
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ONE_ANSWER = wording("There is one answer to a request: n must be 1.")
NO_LOGPROBS = wording("The log probabilities of tokens are not given: logprobs must be false.")
FUNCTIONS = wording("Send tools in place of functions, and tool_choice in place of function_call.")
TOOLS = wording(
    "Each tool must be of type function, with a name of its own of up to 64 letters, digits, _ and -, "
    "and its parameters, if any, must be an object."
)
CHOICE = wording("tool_choice must be none, auto, required, or name a function that is in tools.")
FORMAT = wording("The type of response_format must be text, json_object or json_schema.")
FORMATS = ("text", "json_object", "json_schema")


def parameters_of(body: ChatRequest) -> dict[str, Any]:
    """Return the fields of a request that go on to the model's server.

    Raises:
        InvalidMessageError: The request asks for what is not given.
    """
    if body.n not in (None, 1):
        raise InvalidMessageError(ONE_ANSWER)
    if body.logprobs:
        raise InvalidMessageError(NO_LOGPROBS)
    if body.functions or body.function_call is not None:
        raise InvalidMessageError(FUNCTIONS)
    if body.response_format is not None and body.response_format.get("type") not in FORMATS:
        raise InvalidMessageError(FORMAT)
    fields = {name: getattr(body, name) for name in PASSED_ON}
    return {name: cleaned(value) for name, value in fields.items() if value is not None}


def client_tools_of(body: ChatRequest) -> tuple[ClientTools, dict[str, Any]]:
    """Return the caller's tools, and the fields that say how the model is to use them.

    Where the caller wants one of its tools to be called, the agent's own are not offered; where it
    wants none to be called, its tools are not.

    Raises:
        InvalidMessageError: The tools, or the choice of them, are not what a model takes.
    """
    tools = [_tool(tool) for tool in body.tools or ()]
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) != len(names):
        raise InvalidMessageError(TOOLS)
    is_forced = _is_forced(body.tool_choice, names)
    if not tools or body.tool_choice == "none":
        return ClientTools(), {}
    choice = {"tool_choice": cleaned(body.tool_choice)} if is_forced else {}
    at_once = body.parallel_tool_calls
    parallel = {} if at_once is None else {"parallel_tool_calls": at_once}
    return ClientTools(tuple(tools), are_only=is_forced), choice | parallel


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        raise InvalidMessageError(TOOLS)
    name, schema = function.get("name"), function.get("parameters")
    is_named = isinstance(name, str) and NAME.fullmatch(name)
    if not is_named or not isinstance(schema, Mapping | None):
        raise InvalidMessageError(TOOLS)
    fields: dict[str, Any] = cleaned(dict(function))
    return {"type": "function", "function": fields}


def _is_forced(choice: str | Mapping[str, Any] | None, names: Sequence[str]) -> bool:
    """Return whether the caller wants one of its tools, which are named, to be called."""
    if choice in (None, "none", "auto"):
        return False
    if choice == "required" and names:
        return True
    function = choice.get("function") if isinstance(choice, Mapping) else None
    if not isinstance(function, Mapping) or function.get("name") not in names:
        raise InvalidMessageError(CHOICE)
    return True
