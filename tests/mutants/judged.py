"""Reads the judgements of docs/security.md on mutants that no test kills."""

import re

from tests.isolation.source import ROOT

HEADING = "## Conditions whose removal no test sees"
# A row of the table there: the mutant's name in code marks, and why its removal changes nothing.
_ROW = re.compile(r"^\| ``(?P<name>.+?)`` \| (?P<reason>\S.{20,}) \|$", re.MULTILINE)


def judged() -> set[str]:
    """Return the names of the mutants that may survive."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    _, _, section = text.partition(HEADING)
    return {row["name"].strip() for row in _ROW.finditer(section.partition("\n## ")[0])}
