"""Parses the project's own source, for tests of its architecture."""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("cmw_agent", "memory")


@dataclass(frozen=True, slots=True)
class Source:
    """One module: its dotted name and its syntax tree."""

    name: str
    tree: ast.Module

    def module(self) -> ModuleType:
        """Import and return the module."""
        return importlib.import_module(self.name)


def sources(*packages: str) -> list[Source]:
    """Return the modules of these packages, or of all packages."""
    return [source for package in packages or PACKAGES for source in _parsed(package)]


@cache
def _parsed(package: str) -> list[Source]:
    modules = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules.append(Source(name, ast.parse(path.read_text(encoding="utf-8"))))
    return modules


def imports(source: Source) -> set[str]:
    """Return the top-level packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


def assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, value) of the assignments in the body of a module or class."""
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield name.id, node.value
        elif (
            isinstance(node, ast.AnnAssign | ast.AugAssign)
            and isinstance(node.target, ast.Name)
            and node.value is not None
        ):
            yield node.target.id, node.value


def public(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield (qualified name, function) of a module's own public functions and methods."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function
