"""Brings the catalogues up to date with the texts in the code: `make catalogue`.

A new language is a file: ``python -m cmw_agent.language.extraction de`` makes ``catalogues/de.po``.
"""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson
from babel.messages import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import write_po

from cmw_agent.language.languages import CATALOGUES, SCRIPT_PLACE, SEPARATOR, read_catalogue

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("cmw_agent", "frontend/src")
WIDGET: Final = ROOT / "frontend/src/widget"
WIDGET_TEXTS: Final = WIDGET / "texts.json"
BUILT: Final = "static/built"  # of sources that are read themselves
METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {".py": "python", ".js": "javascript", ".ts": "javascript", ".html": "jinja2.ext:babel_extract"}
)
PYTHON: Final[Mapping[str, tuple[int, ...] | None]] = MappingProxyType(
    {"wording": None, "wordings": (1, 2), "gettext": None, "ngettext": (1, 2)}
)
SCRIPT: Final[Mapping[str, tuple[int, ...] | None]] = MappingProxyType({"t": None, "tn": (1, 2)})
SCRIPTS: Final = (".js", ".ts")
SERVER_PLACE: Final = "server"
WIDTH: Final = 100
NOISE: Final = re.compile(
    rb'^"(?!Language:|Plural-Forms|MIME|Content)[A-Za-z-]+: .*\\n"\n', re.MULTILINE
)


def source_files() -> Iterator[Path]:
    """Yield the files that may hold texts."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in METHODS and BUILT not in path.as_posix():
                yield path


def extracted(path: Path) -> Iterator[str | tuple[str, ...]]:
    """Yield the texts of a file that are marked for the catalogue; a pair where they have a plural."""
    keywords = PYTHON if path.suffix == ".py" else SCRIPT
    options: dict[str, Any] = {"template_string": False} if path.suffix in SCRIPTS else {}
    for _line, text, _comments, _context in extract_from_file(
        METHODS[path.suffix], path, keywords, options=options
    ):
        yield text


def template() -> Catalog:
    """Return the catalogue of all texts, without translations."""
    catalogue = Catalog(fuzzy=False, project="cmw-agent")
    for path in source_files():
        for text in extracted(path):
            # Who moves a text from one file to another need not touch the catalogues.
            location = SCRIPT_PLACE if path.suffix in SCRIPTS else SERVER_PLACE
            catalogue.add(text, locations=[(location, 1)])
    return catalogue


def updated(catalogue: Catalog) -> bytes:
    """Return a catalogue with exactly the texts of the code, as its file holds it."""
    catalogue.update(template(), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    catalogue.fuzzy = False
    catalogue.header_comment = "# Texts of CMW Agent; `make catalogue` brings them up to date."
    file = io.BytesIO()
    write_po(file, catalogue, WIDTH, sort_output=True, include_lineno=False)
    return NOISE.sub(b"", file.getvalue())


def widget_texts(paths: Iterable[Path]) -> bytes:
    """Return the widget's texts in each language, as JSON: they are bundled with its script.

    Args:
        paths: The catalogues' files.
    """
    texts = {text for path in sorted(WIDGET.glob("*.ts")) for text in extracted(path)}
    by_tag = {
        path.stem: {
            entry.id: entry.string
            for entry in read_catalogue(path)
            if entry.id in texts and entry.string
        }
        for path in paths
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(by_tag, option=options)


def main() -> None:
    """Update the catalogues, and make those that the arguments name."""
    for tag in sys.argv[1:]:
        path = CATALOGUES / f"{tag}.po"
        if not path.exists():
            empty = Catalog(locale=tag.replace(SEPARATOR, "_"), fuzzy=False)
            path.write_bytes(updated(empty))
    paths = sorted(CATALOGUES.glob("*.po"))
    for path in paths:
        path.write_bytes(updated(read_catalogue(path)))
    WIDGET_TEXTS.write_bytes(widget_texts(paths))


if __name__ == "__main__":
    main()
