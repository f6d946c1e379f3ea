"""The script that brings a language to a page: the texts that scripts use, and how they are filled in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from cmw_agent.language.language import Language

TEMPLATE: Final = Path(__file__).parent / "language.js"


def language_script(language: Language, offered: Sequence[Language]) -> str:
    """Return the script, which defines `window.cmwLanguage`; it runs before all that writes texts.

    Args:
        language: The language.
        offered: All languages, of which the reader may choose one.
    """
    data = orjson.dumps(
        {
            "tag": language.tag,
            "direction": language.direction,
            "offered": [[item.tag, item.name] for item in offered],
            "texts": dict(language.script_texts),
        },
        option=orjson.OPT_SORT_KEYS,
    ).decode()
    plural_form = f"(n) => Number({language.plural_expression})"
    return (
        f"window.cmwLanguage = {{ ...{data}, pluralForm: {plural_form} }};\n"
        f"{TEMPLATE.read_text(encoding='utf-8')}"
    )
