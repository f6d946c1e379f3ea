"""Finds the owner conditions in the source, and writes the source without one of them."""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.isolation.source import PACKAGES, ROOT, assigned

# Attributes and variables that name whose something is.
OWNERS = frozenset({"owner", "owner_id", "principal", "tenant", "tenant_id", "user_id", "login"})
OWNER_PARAMETERS = frozenset({"_OWNER"})  # bound parameters of statements
COLUMNS = ("owner_id", "tenant_id")
# The same in SQL that is written as text.
WRITTEN_SQL = re.compile(r"\b(?:\w+\.)?(?:owner_id|tenant_id) = :\w+")
MIGRATIONS = "memory/migrations"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One condition that can be removed.

    `path` is relative to the project, `scope` the dotted name of the function, class or
    constant around it, `text` the condition's source; `number` tells equal ones of a scope
    apart. `start` and `end` are byte offsets in the file, `replacement` what stands there
    instead.
    """

    path: str
    scope: str
    text: str
    number: int
    line: int
    start: int
    end: int
    replacement: str

    @property
    def name(self) -> str:
        """Return a name that stays the same while the code around the condition changes."""
        more = f" #{self.number}" if self.number > 1 else ""
        return f"{self.path} {self.scope}: {self.text}{more}"

    def applied(self, source: bytes) -> bytes:
        """Return the file's source with the condition removed."""
        return source[: self.start] + self.replacement.encode() + source[self.end :]


def mutants(root: Path = ROOT) -> list[Mutant]:
    """Return every condition of the product's code that compares owners."""
    found: list[Mutant] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            relative = path.relative_to(root).as_posix()
            if not relative.startswith(MIGRATIONS):
                found += mutants_of(relative, path.read_bytes())
    return found


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """Return the conditions of one module.

    A condition that several statements share is removed from one of them at a time: where it
    is used, not where it is defined.

    Args:
        path: The module's file, relative to the project.
        source: What stands in it, UTF-8.
    """
    file = _File(path, source)
    tree = ast.parse(source)
    shared = _shared_conditions(tree, file)
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for scope, node in _scoped(tree):
        for start, end, new in _removals(node, scope, file, shared):
            text = " ".join(source[start:end].decode().split())
            seen[scope, text] += 1
            number = seen[scope, text]
            line = source.count(b"\n", 0, start) + 1
            found.append(Mutant(path, scope, text, number, line, start, end, new))
    return found


def imported_conditions(modules: Mapping[str, bytes]) -> list[str]:
    """Return the imports of owner conditions from another module, which no mutant would be without.

    Args:
        modules: The source of each module, UTF-8, by its path relative to the project.
    """
    trees = {path: ast.parse(source) for path, source in modules.items()}
    conditions = {
        (_dotted(path), name)
        for path, tree in trees.items()
        for name, value in assigned(tree.body)
        if _is_condition(value) and _has_owners(value)
    }
    return [
        f"{path}: {module}.{name}"
        for path, tree in trees.items()
        for module, name in _uses_of_others(tree)
        if (module, name) in conditions
    ]


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _uses_of_others(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of what a module imports by name, or reads of an imported module."""
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module or "", alias.name
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            imported |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value = ast.unparse(node.value)
            yield imported.get(value, ""), node.attr


class _File:
    """The text of a module by its syntax nodes."""

    def __init__(self, path: str, source: bytes) -> None:
        self.is_sql = path.startswith("memory/")
        self.source = source
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Return the byte offsets at which a node begins and ends."""
        if node.end_lineno is None or node.end_col_offset is None:
            raise ValueError("a parsed node has an end")
        start = self._lines[node.lineno - 1] + node.col_offset
        return start, self._lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr) -> str:
        """Return a node's source."""
        start, end = self.span(node)
        return self.source[start:end].decode()

    def without_owners(self, node: ast.expr) -> str:
        """Return a node's source in which each comparison of owners is always true."""
        start, _ = self.span(node)
        written = self.text(node).encode()
        inside = [n for n in ast.walk(node) if isinstance(n, ast.Compare) and _compares_owners(n)]
        for each in sorted(inside, key=self.span, reverse=True):
            first, last = (offset - start for offset in self.span(each))
            new = _replacement(self, each).encode()
            written = written[:first] + new + written[last:]
        return written.decode()


def _shared_conditions(tree: ast.Module, file: _File) -> dict[str, str]:
    """Return the module's named conditions that compare owners, without that comparison."""
    used = Counter(
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )
    return {
        name: f"({file.without_owners(value)})"
        for name, value in assigned(tree.body)
        if file.is_sql and used[name] and _is_condition(value) and _has_owners(value)
    }


def _removals(
    node: ast.AST, scope: str, file: _File, shared: dict[str, str]
) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, replacement) of what a node compares by itself."""
    if isinstance(node, ast.Compare) and _compares_owners(node) and scope not in shared:
        yield *file.span(node), _replacement(file, node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in shared:
        yield *file.span(node), shared[node.id]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and file.is_sql:
        start, _ = file.span(node)
        for match in WRITTEN_SQL.finditer(file.text(node)):
            condition = match.group()
            first = start + len(file.text(node)[: match.start()].encode())
            yield first, first + len(condition.encode()), f"({condition}) IS NOT NULL"


def _scoped(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield each node with the dotted name of what stands around it."""

    def visit(node: ast.AST, scope: tuple[str, ...]) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            inside = (*scope, *_names(child, is_top=not scope))
            yield ".".join(inside) or "module", child
            yield from visit(child, inside)

    return visit(tree, ())


def _names(node: ast.AST, *, is_top: bool) -> tuple[str, ...]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return (name,)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if (
            is_top
        ):
            return (name,)
    return ()


def _compares_owners(node: ast.Compare) -> bool:
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return False
    sides = (node.left, node.comparators[0])
    if any(isinstance(side, ast.Constant) for side in sides):
        return False  # whether there is an owner at all, or of which kind
    return any(_is_owner(side) for side in sides)


def _is_owner(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name):
            return name in OWNERS or name in OWNER_PARAMETERS
        case ast.Attribute(value=value, attr=attr):
            return attr in OWNERS or (attr in ("id", "value") and _is_owner(value))
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(key)), *_]):
            return key in OWNERS
        case ast.Call(func=ast.Attribute(value=value, attr="concat")):
            return _is_owner(value)
    return False


def _is_condition(node: ast.expr) -> bool:
    match node:
        case ast.Compare():
            return True
        case ast.Call(func=ast.Attribute(attr="and_" | "or_")):
            return True
    return False


def _has_owners(node: ast.expr) -> bool:
    return any(isinstance(n, ast.Compare) and _compares_owners(n) for n in ast.walk(node))


def _replacement(file: _File, node: ast.Compare) -> str:
    written = file.text(node)
    if file.is_sql and any(column in written for column in COLUMNS):
        # True for every row, and the statement still takes the same parameters.
        return f"({written}).is_not(None)"
    return "True" if isinstance(node.ops[0], ast.Eq) else "False"
