"""No text that users read stands in a script or template outside of the catalogue."""

import re

from cmw_agent.language.extraction import ROOT, source_files

# Where a script shows a literal: as an element's text or name, a notice, or an error.
SHOWN = (
    re.compile(
        r"""(?:textContent|innerText|placeholder|title|alt|"aria-label")\s*[=:]\s*["'`](?=(.*))"""
    ),
    re.compile(r"""setAttribute\("(?:aria-label|title|placeholder|alt)",\s*["'`](?=(.*))"""),
    re.compile(r"""\bmake\("[a-z0-9]+",\s*\{[^{}]*\},\s*["'`](?=(.*))"""),
    re.compile(r"""\b(?:tell|explain|say|fail|notice|confirm|alert|Error)\(\s*["'`](?=(.*))"""),
    re.compile(r"""[?:]\s*["'`]([A-Z][a-z]+ [a-z].*)"""),
    re.compile(r"""\b(?:act|button|addSettings|iconButton)\((?:"[a-z]+",\s*)?["'`]([A-Z].*)"""),
)
COMMENT = re.compile(r"/\*[^]*?\*/|(?<![:\"'`])//[^\n]*".replace("[^]", r"[\s\S]"))
WORD = re.compile(r"[A-Za-z]{2,}")
# Text between two tags, or what a template says of an element.
TEMPLATE = re.compile(
    r">([^<>{}]*[A-Za-z]{2,}[^<>{}]*)<|(?:aria-label|title|alt|placeholder)=\"([^\"{}]*[A-Za-z]{2,}[^\"{}]*)\""
)
JUDGED = {
    "cmw_agent/channels/embed/static/widget.js": "built from the widget's sources",
    "cmw_agent/proof/replay/templates/replay.html": "the report of a command, in English as all commands",
    "cmw_agent/proof/scenario/templates/scenario.html": "the report of a command, in English as all commands",
    "cmw_agent/proof/storm/templates/storm.html": "the report of a command, in English as all commands",
    "cmw_agent/web/api/templates/isolation.html": "what was proved, for whoever checks it, in English",
    "cmw_agent/web/api/templates/ratings.html": "the operator's page, in English",
    "cmw_agent/web/api/templates/statistics.html": "the operator's page, in English",
}


def _literal(rest: str) -> str:
    """Return the literal that begins a rest of a line, without what is filled into it."""
    text = re.split(r"""(?<!\\)["'`]""", rest, maxsplit=1)[0]
    return re.sub(r"\$\{.*?\}|\$\{.*", "", text)


def shown_in_script(source: str) -> list[str]:
    """Return the literals that a script shows without asking the catalogue."""
    found = []
    for line in COMMENT.sub("", source).splitlines():
        for pattern in SHOWN:
            for match in pattern.finditer(line):
                text = _literal(match[1])
                if WORD.search(text) and not text.startswith(("cmw-", "#", ".", "data:")):
                    found.append(text)
    return found


def shown_in_template(source: str) -> list[str]:
    """Return the texts of a template that stand there as they are."""
    return [(match[1] or match[2]).strip() for match in TEMPLATE.finditer(source)]


def test_no_script_shows_a_text_that_the_catalogue_lacks() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): texts
        for path in source_files()
        if path.suffix in (".js", ".ts")
        and (texts := shown_in_script(path.read_text(encoding="utf-8")))
    }
    assert {name: texts for name, texts in found.items() if name not in JUDGED} == {}


def test_no_template_holds_a_text_that_the_catalogue_lacks() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): texts
        for path in source_files()
        if path.suffix == ".html" and (texts := shown_in_template(path.read_text(encoding="utf-8")))
    }
    assert {name: texts for name, texts in found.items() if name not in JUDGED} == {}


def test_the_search_finds_what_it_is_for() -> None:
    assert shown_in_script('make("p", {}, "Nothing here"); // "aria-label": "No"') == [
        "Nothing here"
    ]
    assert shown_in_script('button.title = `Rename ${name}`; x({ "aria-label": "Close" })') == [
        "Rename ",
        "Close",
    ]
    assert shown_in_script('tell(isOn ? "It is on" : t("It is off"))') == ["It is on"]
    assert shown_in_script('make("p", {}, t("Nothing")); label.title = t("Close");') == []
    assert shown_in_template('<p>A text</p><b title="{{ t("Close") }}">{{ x }}</b>') == ["A text"]
