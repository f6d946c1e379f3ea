"""Many tools as two: one that finds tools by words, and one that uses a tool by its name.

The schemas of hundreds of tools would fill the model's window with each message. Above `BOUND`
tools the model gets these two in their place; see ``docs/adr/0057-tools-that-are-found.md``.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from langchain_core.messages import ToolCall

from cmw_agent.core.events import ToolAccount
from cmw_agent.tools.approvals import UserQuestions
from cmw_agent.tools.toolset import ProgressSink, ToolResult, Toolset, parameters_in

BOUND = 30  # tools whose schemas are all sent
FOUND = 8  # tools that a search returns
MAX_CHARACTERS = 16_000  # of a search's result
FIND, USE = "find_tool", "use_tool"
WORD = re.compile(r"[a-z]+|\d+|[^\W\da-z_]+")
NAME_WEIGHT = 3.0  # of a word in a name, against one in a description
NOTHING_FOUND = "No tool was found; try other words, such as the app's name and what is to be done."


class ToolIndex:
    """Finds tools by the words of their names and descriptions; holds no user's data.

    Args:
        schemas: The tools' schemas, in OpenAI's form.
    """

    def __init__(self, schemas: Iterable[Mapping[str, Any]]) -> None:
        self._schemas: dict[str, Mapping[str, Any]] = {}
        self._weights: dict[str, dict[str, float]] = {}
        counts: Counter[str] = Counter()
        for schema in schemas:
            function = schema["function"]
            in_name = set(_words(function["name"]))
            weights = dict.fromkeys(_words(function.get("description") or ""), 1.0)
            weights |= dict.fromkeys(in_name, NAME_WEIGHT)
            self._schemas[function["name"]] = function
            self._weights[function["name"]] = weights
            counts.update(weights.keys())
        total = len(self._schemas) + 1
        self._rarity = {word: math.log(total / count) + 0.1 for word, count in counts.items()}

    def find(
        self, query: str, names: Collection[str], count: int = FOUND
    ) -> list[Mapping[str, Any]]:
        """Return the functions that match `query` best, the best first.

        Args:
            query: Words.
            names: Those that may be found.
            count: How many are returned at most.
        """
        return find_in([self], query, names, count)

    def scored(
        self, query: str, names: Collection[str]
    ) -> Iterator[tuple[float, str, Mapping[str, Any]]]:
        """Yield the functions that match `query` at all, each with its score and name."""
        wanted = set(_words(query))
        for name in names:
            if name in self._weights and (score := self._score(self._weights[name], wanted)) > 0:
                yield score, name, self._schemas[name]

    def _score(self, weights: Mapping[str, float], wanted: Iterable[str]) -> float:
        return sum(weights[word] * self._rarity[word] for word in wanted if word in weights)


def find_in(
    indexes: Iterable[ToolIndex], query: str, names: Collection[str], count: int = FOUND
) -> list[Mapping[str, Any]]:
    """Return the functions of several indexes that match `query` best; as `ToolIndex.find`."""
    found = [item for index in indexes for item in index.scored(query, names)]
    best = sorted(found, key=lambda item: (-item[0], item[1]))[:count]
    return [function for _, _, function in best]


def _words(text: str) -> list[str]:
    """Return a text's words, without the ending of a plural."""
    return [
        word[:-1] if len(word) > 3 and word.endswith("s") else word
        for word in WORD.findall(text.lower())
    ]


class SearchedToolset:
    """Offers a toolset's tools by search; calls of any of its tools by name work as before.

    Args:
        toolset: The tools, bound to one user.
        indexes: Their indexes, which users share; called when a search needs them.
        always: Names of those whose schemas are sent all the same.
    """

    __slots__ = ("_always", "_indexes", "_toolset")

    def __init__(
        self,
        toolset: Toolset,
        indexes: Callable[[], Iterable[ToolIndex]],
        always: Sequence[str] = (),
    ) -> None:
        self._toolset = toolset
        self._indexes = indexes
        self._always = frozenset(always)

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The schemas of the two tools, and of those that are always sent."""
        sent = (s for s in self._toolset.schemas if s["function"]["name"] in self._always)
        return [*SCHEMAS, *sent]

    @property
    def names(self) -> list[str]:
        """The names of all tools."""
        return [FIND, USE, *self._toolset.names]

    def parameters(self, name: str) -> Mapping[str, Any] | None:
        """Return the JSON schema of a tool's arguments; None where there is none."""
        return parameters_in(SCHEMAS, name) or self._toolset.parameters(name)

    def changes(self, name: str) -> bool:
        """Return whether a tool may change something outside the app; True for unknown names."""
        return name not in (FIND, USE) and self._toolset.changes(name)

    async def account(self, name: str) -> ToolAccount | None:
        """Return the account that a call of a tool would use now, where the user has several."""
        return None if name in (FIND, USE) else await self._toolset.account(name)

    async def use(
        self,
        name: str,
        arguments: Mapping[str, Any],
        questions: UserQuestions | None = None,
        progress: ProgressSink | None = None,
        account: ToolAccount | None = None,
    ) -> ToolResult:
        """Run a tool for this toolset's user, once.

        Raises:
            KeyError: There is no such tool.
        """
        if name == FIND:
            return ToolResult(self._found(str(arguments.get("query", ""))), ok=True)
        if name == USE:  # one that names a tool is a call of that tool: see `named_call`
            return ToolResult(f"There is no such tool; look for it with {FIND}.", ok=False)
        return await self._toolset.use(name, arguments, questions, progress, account)

    def _found(self, query: str) -> str:
        names = [schema["function"]["name"] for schema in self._toolset.schemas]
        found = find_in(self._indexes(), query, names)
        if not found:
            return NOTHING_FOUND
        lines = [orjson.dumps(function).decode() for function in found]
        while len(lines) > 1 and sum(map(len, lines)) > MAX_CHARACTERS:
            lines.pop()
        return f"Call these with {USE}:\n" + "\n".join(lines)


def named_call(call: ToolCall, toolset: Toolset | None) -> ToolCall:
    """Return the call that a call of `use_tool` means: of the tool that it names.

    So the tool's own name and arguments are checked, shown and approved. A call that names no tool
    of the toolset stays as it is.
    """
    if call["name"] != USE or toolset is None or USE not in toolset.names:
        return call
    name, arguments = call["args"].get("name"), call["args"].get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments or "{}")
        except orjson.JSONDecodeError:
            return call
    if name in (FIND, USE) or name not in toolset.names or not isinstance(arguments, dict):
        return call
    return {**call, "name": name, "args": arguments}


def _schema(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


# The same objects for all runs, so that the model's cache of converted schemas finds them.
SCHEMAS: tuple[dict[str, Any], ...] = (
    _schema(
        FIND,
        "Find tools of the user's connected apps by words. Returns their names, what they do, and their "
        "parameters. Look here first when the user wants something done or looked up in an app.",
        {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "Words, such as 'gmail send message'"}
            },
            "required": ["query"],
        },
    ),
    _schema(
        USE,
        f"Use a tool that {FIND} has found.",
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "The tool's name"},
                "arguments": {
                    "type": "object",
                    "description": "Arguments, by the tool's parameters",
                },
            },
            "required": ["name", "arguments"],
        },
    ),
)
