"""A storm's result as JSON, as JUnit's XML and as one page of HTML."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.evidence import Finding, Person
from cmw_agent.proof.storm.picture import picture
from cmw_agent.proof.storm.run import Result
from cmw_agent.proof.storm.verdict import sentence

TEMPLATE = Path(__file__).parent / "templates" / "storm.html"


def write_reports(result: Result, folder: Path) -> list[Path]:
    """Write ``report.html``, ``report.json`` and ``junit.xml`` into a folder; return their paths.

    Raises:
        TargetError: They cannot be written.
    """
    texts = {
        "report.html": as_html(result),
        "report.json": json.dumps(as_dict(result), indent=2) + "\n",
        "junit.xml": as_junit(result),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise TargetError(f"the report cannot be written to {folder} ({error.strerror})") from error
    return [folder / name for name in texts]


def as_dict(result: Result) -> dict[str, Any]:
    """Return a result as JSON's values."""
    evidence = result.evidence
    return {
        "version": 1,
        "target": result.url,
        "verdict": result.verdict.outcome,
        "reasons": list(result.verdict.reasons),
        "channels": result.channels,
        "plan": {
            "users": result.plan.users,
            "turns": result.plan.turns,
            "seed": result.plan.seed,
        },
        "requests": result.budget.sent,
        "bytes": result.budget.received,
        "seconds": round(result.seconds, 3),
        "planted": result.planted,
        "people": [_person(person) for person in evidence.people],
        "findings": [_finding(finding) for finding in evidence.findings],
        "unlisted_findings": evidence.unlisted,
        "disturbances": [
            {"by": by.name, "whose": whose.name, "way": way}
            for by, whose, way in evidence.disturbances
        ],
    }


def as_junit(result: Result) -> str:
    """Return a result as JUnit's XML: a case for each planted fault, and one for each way."""
    suite = ET.Element("testsuite", name="cmw-agent storm", time=f"{result.seconds:.3f}")
    for fault, found in result.planted.items():
        case = ET.SubElement(suite, "testcase", classname="storm.control", name=fault)
        if not found:
            ET.SubElement(case, "error", message="not told apart")
    failures: dict[str, list[str]] = {}
    for finding in result.evidence.findings:
        failures.setdefault(finding.way, []).append(sentence(finding))
    for by, whose, way in result.evidence.disturbances:
        failures.setdefault(way, []).append(f"{by.name} ended the answer to {whose.name}")
    for way, sentences in failures.items():
        case = ET.SubElement(suite, "testcase", classname="storm.target", name=way)
        failure = ET.SubElement(case, "failure", message=f"{len(sentences)} people")
        failure.text = "\n".join(sentences)
    case = ET.SubElement(suite, "testcase", classname="storm.target", name="verdict")
    if result.verdict.outcome == "not judged":
        ET.SubElement(case, "error", message="\n".join(result.verdict.reasons))
    elif result.verdict.outcome == "leak":
        ET.SubElement(case, "failure", message=f"{len(result.verdict.reasons)} findings")
    cases = list(suite)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(each.find("failure") is not None for each in cases)))
    suite.set("errors", str(sum(each.find("error") is not None for each in cases)))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_html(result: Result) -> str:
    """Return a result as one page that loads nothing."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    svg = Markup(picture(result.evidence))  # noqa: S704 (its texts are escaped where it is drawn)
    return template.render(report=as_dict(result), picture=svg)


def _person(person: Person) -> Mapping[str, Any]:
    return {
        "name": person.name,
        "channel": person.channel,
        "said": len(person.said),
        "heard": len(person.heard & person.said),
        "responses": person.responses,
        "bytes": person.received,
        "trouble": person.trouble,
    }


def _finding(finding: Finding) -> Mapping[str, Any]:
    return {
        "reader": finding.reader.name,
        "source": finding.source.name if finding.source else None,
        "channel": finding.reader.channel,
        "way": finding.way,
        "request": finding.request,
        "excerpt": finding.excerpt,
        "count": finding.count,
    }
