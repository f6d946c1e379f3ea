"""`Agent`: an agent in Python, for `cmw_agent.create_app`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

CODE = frozenset({"graph", "tools"})  # what no table of `agents.toml` can hold as an object


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """An agent in Python. What is left out has the value that `agents.toml` would give it.

    Attributes:
        id: Its name in URLs and in the database: 1 to 40 small letters, digits, - and _.
        graph: What answers: a compiled LangGraph graph, another LangChain `Runnable`, or an async
            function ``answer(messages, run)`` that yields text and events; see `docs/agents.md`.
            None for the built-in loop of model and tools.
        tools: Tools of the built-in loop: functions of `cmw_agent.tool`, LangChain tools (which
            count as changing something), or functions with a docstring (which do so, too).
        name: Its name for users.
        prompt: System prompt of the built-in loop.
        model: Id of the model of the built-in loop.
        temperature: Sampling temperature of that model.
        effort: Reasoning effort of that model.
        toolkits: Composio toolkits that it may use.
        allowed_tools: Names of their tools that it may use, with ``*`` for any characters.
        access: Who may use it: a level, or names of users and groups.
        allowed_origins: Websites that may embed it.
        examples: Messages that a new chat offers.
        welcome: Headline of a new chat.
        logo: Path of a picture.
    """

    id: str
    graph: Any = None
    tools: Sequence[Any] = ()
    name: str | None = None
    prompt: str | None = None
    model: str | None = None
    temperature: float | None = None
    effort: str | None = None
    toolkits: Sequence[str] | None = None
    allowed_tools: Sequence[str] | None = None
    access: str | Sequence[str] | None = None
    allowed_origins: Sequence[str] | None = None
    examples: Sequence[str] | None = None
    welcome: str | None = None
    logo: str | None = None

    @property
    def table(self) -> Mapping[str, Any]:
        """What is set of it, as a table of `agents.toml`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            key: list(value) if isinstance(value, (tuple, set, frozenset)) else value
            for key, value in values.items()
            if key not in CODE and value is not None
        }
