"""Every regular expression of the source takes linear time.

Each is found in the source and runs on texts of its own characters: a prefix, a pair of them
repeated, and a suffix that it does not match.
"""

import ast
import gc
import itertools
import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import pytest

from tests.hostile import text_work
from tests.hostile.growth import MIN_SECONDS, grows_no_faster

SHORT, LONG = 1_000, 8_000  # characters
FEW = (16, 24, 36, 54)  # characters; what doubles its work with each is seen before it takes hours
SIZES = (SHORT, 2 * SHORT, 4 * SHORT, LONG)  # the first that takes too long is enough
SUSPECT = 0.0005  # seconds for a short text, from which a long one is measured
READINGS = 3  # of a short text, of which the quickest counts
LETTERS = 20  # of a pattern, which are tried in pairs
BEGINNINGS = 5
END = "\x01"
WHOLE = frozenset({"match", "fullmatch"})  # begin at one place; all other ways begin at each
WAYS = frozenset({"sub", "subn", "search", "split", "findall", "finditer"}) | WHOLE

# those that never see a text as long as this
BOUNDED: Mapping[str, str] = {}


class Use(NamedTuple):
    """A regular expression and a way in which the source uses it."""

    name: str
    way: str
    pattern: re.Pattern[Any]


def uses() -> Iterator[Use]:
    """Yield each regular expression with each of its uses."""
    for path, tree in text_work.sources():
        if path.name == "__main__.py":
            continue
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        yield from _module_uses(name, tree, vars(import_module(name)))


def _module_uses(module: str, tree: ast.Module, values: Mapping[str, Any]) -> Iterator[Use]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    ways: dict[str, set[str]] = {}
    for call in calls:
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in WAYS):
            continue
        owner, way = ast.unparse(call.func.value), call.func.attr
        if owner != "re":
            ways.setdefault(owner.partition("[")[0], set()).add(way)
        elif isinstance(call.args[0], ast.Constant):
            yield Use(f"{module}:{call.lineno}", way, re.compile(ast.literal_eval(call.args[0])))
    own = {target.id for node in ast.walk(tree) for target in _targets(node)}
    for name in sorted(own & set(values)):
        value = values[name]
        for pattern in value.values() if isinstance(value, dict) else [value]:
            if isinstance(pattern, re.Pattern):
                # One that is handed on, or used elsewhere, may be used in every way.
                for way in sorted(ways.get(name, {"finditer", "fullmatch"})):
                    yield Use(f"{module}.{name}", way, pattern)


def _targets(node: ast.AST) -> list[ast.Name]:
    found = node.targets if isinstance(node, ast.Assign) else []
    return [target for target in found if isinstance(target, ast.Name)]


def letters(pattern: re.Pattern[Any]) -> list[str]:
    """Return characters that a pattern knows, some for each of its classes."""
    parsed = parser.parse(pattern.pattern, pattern.flags)
    return list(dict.fromkeys(_letters(parsed)))[:LETTERS]


def _letters(items: Any) -> Iterator[str]:
    for kind, value in items:
        if kind in (sre.LITERAL, sre.NOT_LITERAL):
            yield chr(value)
        elif kind is sre.RANGE:
            yield chr(value[0])
        elif kind in (sre.ANY, sre.CATEGORY):
            yield from " a1"
        elif kind is sre.BRANCH:
            yield from itertools.chain.from_iterable(map(_letters, value[1]))
        elif kind in (sre.IN, sre.ATOMIC_GROUP):
            yield from _letters(value)
        elif isinstance(value, tuple) and isinstance(value[-1], parser.SubPattern):
            yield from _letters(value[-1])


def texts(use: Use) -> Iterator[tuple[str, str]]:
    """Yield beginnings, and what comes often behind them."""
    known = letters(use.pattern)
    source = use.pattern.pattern
    plain = source if isinstance(source, str) else source.decode("latin-1")
    words = re.findall(r"[A-Za-z<>!*_`:/.]{2,}", plain)[:8]
    often = [*known, *map("".join, itertools.product(known, repeat=2))]
    often += [f"{word}{end}" for word in words for end in ("", " ", "a")]
    return itertools.product(("", *known[:BEGINNINGS], *words[:2]), dict.fromkeys(often))


def work(use: Use, text: Any) -> None:
    if use.way in WHOLE:
        getattr(use.pattern, use.way)(text)
    else:
        for _ in use.pattern.finditer(text):
            pass


def is_quick(use: Use, text: Any, seconds: float) -> bool:
    """Whether one of a few readings is quick; what disturbs the others is not the text."""
    for _ in range(READINGS):
        begun = time.thread_time()
        work(use, text)
        if time.thread_time() - begun < seconds:
            return True
    return False


def slow(use: Use) -> str | None:
    """Return a text that is read in more time than its length explains; None without one."""
    for beginning, often in texts(use):

        def made(size: int, beginning: str = beginning, often: str = often) -> Any:
            text = beginning + often * (size // len(often)) + END
            is_text = isinstance(use.pattern.pattern, str)
            return text if is_text else text.encode("latin-1", "replace")

        is_read = all(is_quick(use, made(size), MIN_SECONDS) for size in FEW)
        if is_read and is_quick(use, made(SHORT), SUSPECT):
            continue
        if not is_read or not grows_no_faster(lambda text: work(use, text), made, SIZES):
            return f"{beginning!r} and {often!r}"
    return None


USES = list(uses())


@pytest.fixture(autouse=True, scope="module")
def frozen() -> None:
    """Keep what earlier tests have left out of the collections: each comparison begins with one."""
    gc.collect()
    gc.freeze()


def test_the_expressions_of_the_source_are_found() -> None:
    names = {use.name for use in USES}
    assert {
        "cmw_agent.core.sanitize.MARKS",
        "cmw_agent.llm.demo_model.SUM",
        "memory.conversations.editing._WORD",
    } <= names
    assert any(name.startswith("memory.validation:") for name in names)  # one without a name
    assert set(BOUNDED) <= names


@pytest.mark.parametrize("pattern", [r"\s+$", r"\s*(?:,|\band\b)\s*", r"(a+)+$"])
def test_an_expression_that_reads_a_text_again_and_again_is_seen(pattern: str) -> None:
    assert slow(Use("seen", "search", re.compile(pattern)))


@pytest.mark.parametrize("module", sorted({use.name.rpartition(".")[0] for use in USES}))
def test_an_expression_reads_each_text_in_the_time_that_its_length_explains(module: str) -> None:
    own = [use for use in USES if use.name.rpartition(".")[0] == module]
    wrong = {use.name: found for use in own if use.name not in BOUNDED and (found := slow(use))}
    assert not wrong
