"""Names the objects in which given texts are held, by walking from variables downwards."""

import gc
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_OBJECTS = 200_000  # of one variable
MAX_DEPTH = 14
SKIPPED = (types.ModuleType, types.FrameType, types.CodeType, int, float, type(None))


@dataclass(frozen=True, slots=True)
class Holder:
    """A variable under which texts of more than one user are held.

    Attributes:
        name: Such as ``my_app.graph:HISTORY``.
        kind: Its type's name.
        users: Texts of how many users it holds.
    """

    name: str
    kind: str
    users: int

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}), texts of {self.users} users"


def holders(
    roots: Sequence[tuple[str, object]], texts_by_user: Sequence[Collection[str]]
) -> list[Holder]:
    """Return the variables under which texts of more than one user are held, most users first.

    Args:
        roots: Where to begin, by their names; of a mapping, each value is a variable.
        texts_by_user: The texts of each user.
    """
    found = []
    for root, value in roots:
        variables = value.items() if isinstance(value, dict) else [("", value)]
        for key, variable in list(variables):
            if str(key).startswith("__"):
                continue
            name = f"{root}:{key}" if key else root
            users = _users(variable, texts_by_user)
            if users > 1:
                found.append(Holder(name, _kind(variable), users))
    return sorted(found, key=lambda holder: -holder.users)


def _users(variable: object, texts_by_user: Sequence[Collection[str]]) -> int:
    """Return of how many users a text can be reached from a variable."""
    missing = dict(enumerate(texts_by_user))
    for text in _texts(variable):
        hit = [number for number, texts in missing.items() if any(part in text for part in texts)]
        for number in hit:
            del missing[number]
        if not missing:
            break
    return len(texts_by_user) - len(missing)


def _texts(variable: object) -> Iterator[str]:
    """Yield the texts that can be reached from a variable, without other modules' variables."""
    seen: set[int] = set()
    waiting: list[tuple[object, int]] = [(variable, 0)]
    while waiting and len(seen) < MAX_OBJECTS:
        item, depth = waiting.pop()
        if isinstance(item, str):
            yield item
            continue
        if isinstance(item, bytes):
            yield item.decode("utf-8", "replace")
            continue
        if id(item) in seen or depth > MAX_DEPTH:
            continue
        seen.add(id(item))
        waiting += [(part, depth + 1) for part in _parts(item)]


def _parts(item: object) -> list[Any]:
    """Return what an object refers to; of functions without the variables of their module."""
    if isinstance(item, SKIPPED):
        return []
    if isinstance(item, Mapping):
        return [*item.keys(), *item.values()]
    if isinstance(item, types.FunctionType):
        cells = [cell.cell_contents for cell in item.__closure__ or () if _is_filled(cell)]
        return [*cells, item.__defaults__, item.__kwdefaults__, item.__dict__]
    if isinstance(item, type):
        return [value for key, value in vars(item).items() if not key.startswith("__")]
    return [part for part in gc.get_referents(item) if not _is_namespace(part)]


def _is_filled(cell: types.CellType) -> bool:
    try:
        return bool(cell.cell_contents is not None)
    except ValueError:
        return False


def _is_namespace(part: object) -> bool:
    return isinstance(part, dict) and "__builtins__" in part


def _kind(variable: object) -> str:
    return variable.__name__ if isinstance(variable, type) else type(variable).__name__
