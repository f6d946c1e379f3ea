"""Generates the documentation of the settings: the README's table and `.env.example`.

``python -m cmw_agent.config.docs`` rewrites both in the current folder; a test compares them
with the settings.
"""

import textwrap
from pathlib import Path

from pydantic.fields import FieldInfo

from cmw_agent.config.settings import Settings, variable

BEGIN = "<!-- settings: made by `make docs` -->"
END = "<!-- /settings -->"
WIDTH = 96
HEADER = """\
# Copy this file to .env and take the # away from the lines that you change; see README.md.
# Variables of the environment win over .env. In double quotes a value may span lines;
# ${NAME} stands for another variable's value. `docker run --env-file` knows neither: to it a quote
# is part of the value. Made by `make docs`.
"""


def documented() -> dict[str, FieldInfo]:
    """Return the documented settings, by the name of their variable."""
    fields = Settings.model_fields.items()
    return {variable(name): info for name, info in fields if info.description}


def default_text(info: FieldInfo) -> str:
    """Return a setting's default as Markdown."""
    return _default_words(info) or f"`{_value(info.default)}`"


def table() -> str:
    """Return the settings as a Markdown table that ends with a line feed."""
    rows = [
        f"| `{name}` | {_cell(info.description or '')} | {_cell(default_text(info))} |"
        for name, info in documented().items()
    ]
    return "\n".join(["| variable | meaning | default |", "|---|---|---|", *rows, ""])


def env_example() -> str:
    """Return the text of `.env.example`: every setting, commented out."""
    parts = [HEADER]
    for name, info in documented().items():
        words = _default_words(info)
        comment = f"{info.description} Default: {words}." if words else str(info.description)
        comment = comment.replace("`", "")
        lines = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ")
        parts.append("\n".join([*lines, f"#{name}={'' if words else _value(info.default)}", ""]))
    return "\n".join(parts)


def with_table(readme: str) -> str:
    """Return `readme` with the present table between its two markers.

    Raises:
        ValueError: `readme` does not contain both markers, once and in order.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in tail:
        raise ValueError(f"README.md needs {BEGIN} and {END} around the settings table")
    return f"{head}{BEGIN}\n{table()}{END}{tail}"


def write(root: Path) -> None:
    """Rewrite the table in README.md, and `.env.example`, in the folder `root`."""
    readme = root / "README.md"
    text = with_table(readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8", newline="\n")
    example = root / ".env.example"
    example.write_text(env_example(), encoding="utf-8", newline="\n")


def _default_words(info: FieldInfo) -> str | None:
    extra = info.json_schema_extra
    words = extra.get("shown") if isinstance(extra, dict) else None
    return str(words) if words else None


def _value(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    write(Path.cwd())
