"""Judges what a storm has found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cmw_agent.proof.storm.channels import CROWD
from cmw_agent.proof.storm.evidence import Evidence, Finding, Person

Outcome = Literal["clean", "leak", "not judged"]
CODES: dict[Outcome, int] = {"clean": 0, "leak": 1, "not judged": 2}
HEARD = 0.5  # of what users said must come back, or nothing would show what is mixed up


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a storm.

    Attributes:
        outcome: ``clean``, ``leak`` or ``not judged``.
        reasons: Why, a sentence each.
    """

    outcome: Outcome
    reasons: tuple[str, ...]

    @property
    def code(self) -> int:
        """The exit code: 0 clean, 1 a leak, 2 where it could not be judged."""
        return CODES[self.outcome]


def judge(evidence: Evidence, missed: Sequence[str], stopped: str | None = None) -> Verdict:
    """Return the verdict.

    Args:
        evidence: What people said and received.
        missed: The planted faults that this run did not find, or found where there were none.
        stopped: Why the run ended early, if it did.
    """
    reasons = [*_by_way(evidence.findings), *_disturbed(evidence)]
    if reasons:
        return Verdict("leak", tuple(reasons))
    reasons = [f"a planted fault was not found: {fault}" for fault in missed]
    if stopped is not None:
        reasons.append(stopped)
    reasons += _troubles(evidence.people)
    said = sum(len(person.said) for person in evidence.people)
    heard = sum(len(person.heard & person.said) for person in evidence.people)
    if not reasons and heard < said * HEARD:
        reasons.append(
            f"the target repeated {heard} of {said} codes that it was asked to repeat, so that "
            "nothing shows what it mixes up"
        )
    if not evidence.people and not reasons:
        reasons.append("nobody talked")
    if reasons:
        return Verdict("not judged", tuple(reasons))
    users = sum(person.kind == "user" for person in evidence.people)
    return Verdict("clean", (f"{users} users received their own words and nobody else's",))


def sentence(finding: Finding) -> str:
    """Return a finding as a sentence."""
    source = "an earlier run" if finding.source is None else finding.source.name
    doing = "" if finding.way == CROWD else f", who {finding.way},"
    times = "" if finding.count == 1 else f", {finding.count} times"
    return f"{finding.reader.name}{doing} received words of {source} ({finding.request}{times})"


def _by_way(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence for each way by which words came to others."""
    by_way: dict[str, list[Finding]] = {}
    for finding in findings:
        by_way.setdefault(finding.way, []).append(finding)
    sentences = []
    for first, *others in by_way.values():
        pairs = f"; so did {len(others)} more pairs" if others else ""
        sentences.append(sentence(first) + pairs)
    return sentences


def _disturbed(evidence: Evidence) -> list[str]:
    return [
        f"{by.name} {way}: the answer to {whose.name} ended"
        for by, whose, way in evidence.disturbances
    ]


def _troubles(people: Sequence[Person]) -> list[str]:
    """Return why people could not go on, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for person in people:
        if person.trouble is not None:
            by_reason.setdefault(person.trouble, []).append(person.name)
    return [f"{reason} ({_some(names)})" for reason, names in by_reason.items()]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
