"""Finds the functions whose work may grow faster than the text that they get.

A function counts when it shows one of `SIGNS`, or grows a value in a loop. It must then be listed in
``test_loop_budget.py``.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("cmw_agent", "memory")
ELSEWHERE = (
    "memory/migrations/",
    "cmw_agent/files/extraction_worker.py",
    "cmw_agent/files/office_worker.py",
    "cmw_agent/files/reading/",
    "cmw_agent/conversations/importing/archive.py",
    "cmw_agent/conversations/importing/chatgpt.py",
    "cmw_agent/conversations/importing/claude.py",
    "cmw_agent/conversations/importing/json_splitter.py",
    "cmw_agent/conversations/importing/message_tree.py",
    "cmw_agent/conversations/importing/open_webui.py",
    "cmw_agent/conversations/importing/own.py",
    "cmw_agent/conversations/importing/readers.py",
    "cmw_agent/conversations/importing/values.py",
    "cmw_agent/conversations/importing/worker.py",
)  # not run by the app's event loop

SIGNS: Mapping[str, frozenset[str]] = {
    "reads JSON": frozenset({"json.loads", "orjson.loads"}),
    "writes JSON": frozenset({"json.dumps"}),
    "composes": frozenset({"unicodedata.normalize"}),
    "compares": frozenset({"difflib.get_close_matches", "difflib.SequenceMatcher"}),
    "escapes": frozenset({"html.escape"}),
    "matches": frozenset({f"re.{way}" for way in ("sub", "subn", "search", "match", "split")})
    | frozenset({"re.fullmatch", "re.findall", "re.finditer"}),
    "computes": frozenset({"ast.parse", "round", "pow", "eval", "math.factorial", "math.comb"}),
}
LOOPS = (ast.For, ast.AsyncFor, ast.While)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def found() -> dict[str, set[str]]:
    """Return the signs of each function that has any, by its full name."""
    signs: dict[str, set[str]] = {}
    for path, tree in sources():
        module = ".".join(path.with_suffix("").parts)
        for name, sign in _signs(tree, module, is_loop=False):
            signs.setdefault(name, set()).add(sign)
    return signs


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Yield the modules, by their paths below the root."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            short = path.relative_to(ROOT)
            if not short.as_posix().startswith(ELSEWHERE):
                yield short, ast.parse(path.read_text(encoding="utf-8"))


def _signs(node: ast.AST, name: str, *, is_loop: bool) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        is_scope = isinstance(child, SCOPES)
        inner = f"{name}.{child.name}" if isinstance(child, SCOPES) else name
        loops = not is_scope and (is_loop or isinstance(child, LOOPS))
        if (sign := _sign(child, is_loop=loops)) is not None:
            yield inner, sign
        yield from _signs(child, inner, is_loop=loops)


def _sign(node: ast.AST, *, is_loop: bool) -> str | None:
    match node:
        case ast.While():
            return "loops"
        case ast.AugAssign(op=ast.Add(), target=target, value=value):
            is_stored = isinstance(target, ast.Attribute | ast.Subscript)
            is_number = isinstance(value, ast.Constant) and isinstance(value.value, int | float)
            return "grows" if (is_loop or is_stored) and not is_number else None
        case ast.Assign(targets=[ast.Name(id=target)], value=ast.BinOp(op=ast.Add()) as value):
            used = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
            return "grows" if is_loop and target in used else None
        case ast.Call(func=ast.Attribute(attr="insert"), args=[ast.Constant(value=0), _]):
            return "inserts"
        case ast.Call(func=function):
            called = ast.unparse(function)
            return next((sign for sign, names in SIGNS.items() if called in names), None)
    return None
