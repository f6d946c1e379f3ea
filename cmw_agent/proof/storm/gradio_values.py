"""Values of Gradio's components as its page keeps them: updates and edits of streams."""

import copy
from typing import Any

Values = list[Any]


def patched(value: Any, edits: Any) -> Any:
    """Return a value after Gradio's edits, each ``[action, path, new]``.

    Raises:
        LookupError, TypeError, ValueError: The edits do not fit the value.
    """
    result = copy.deepcopy(value)
    for action, path, new in edits:
        if not path:
            result = result + new if action == "append" else new
            continue
        target = result
        for step in path[:-1]:
            target = target[step]
        _edit(target, action, path[-1], new)
    return result


def _edit(target: Any, action: str, last: Any, new: Any) -> None:
    match action:
        case "replace":
            target[last] = new
        case "append":
            target[last] += new
        case "delete":
            del target[last]
        case "add" if isinstance(target, list):
            target.insert(last, new)
        case "add":
            target[last] = new


def is_update(value: Any) -> bool:
    """Whether a value changes a component's properties rather than its value."""
    return isinstance(value, dict) and value.get("__type__") == "update"
