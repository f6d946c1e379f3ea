"""What a storm's people have said and received, and what of it was another's.

Each message holds a canary: a random text that nothing else contains. Every response is searched
for canaries when it has ended, so that nothing but findings is kept of it.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

CANARY = re.compile(r"canary[0-9a-f]{16}")
MAX_FINDINGS = 500  # further ones are counted
EXCERPT = 60  # characters before and after a foreign canary

Kind = Literal["user", "stranger"]


@dataclass(eq=False, slots=True)
class Person:
    """One user of a storm, or a stranger who tries what users of it have.

    Attributes:
        number: Counts from 1 within its kind.
        kind: Strangers say nothing of their own and receive nothing that is theirs.
        channel: How the person reaches the target.
        caller: Which of the channel's callers it is, where keys tell them apart.
        said: The canaries of its messages that are to be answered.
        heard: Those of them that came back.
        responses: How many responses it received.
        received: How many bytes they had.
        trouble: Why it could not go on.
    """

    number: int
    kind: Kind
    channel: str
    caller: int
    said: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    responses: int = 0
    received: int = 0
    trouble: str | None = None

    @property
    def name(self) -> str:
        """What the report calls this person."""
        return f"{self.kind} {self.number}"


@dataclass(slots=True)
class Finding:
    """Words of one person that came to another, by one way.

    Attributes:
        reader: Who received them.
        source: Whose they were; None for words of an earlier run.
        way: What the reader did.
        request: The request that brought them.
        excerpt: The text around them.
        count: How often it happened.
    """

    reader: Person
    source: Person | None
    way: str
    request: str
    excerpt: str
    count: int = 1


class Evidence:
    """Searches what people receive for canaries of others."""

    def __init__(self) -> None:
        self.people: list[Person] = []
        self.findings: list[Finding] = []
        self.disturbances: list[tuple[Person, Person, str]] = []  # by whom, whose answer, how
        self.unlisted = 0  # findings beyond `MAX_FINDINGS`
        self._owners: dict[str, Person] = {}

    def person(self, kind: Kind, channel: str, caller: int) -> Person:
        """Return a new person."""
        number = 1 + sum(person.kind == kind for person in self.people)
        person = Person(number, kind, channel, caller)
        self.people.append(person)
        return person

    def canary(self, person: Person, *, answered: bool = True) -> str:
        """Return a new canary of a person.

        Args:
            person: Who says it.
            answered: Whether it is said in a message whose answer is waited for.
        """
        canary = f"canary{secrets.token_hex(8)}"
        self._owners[canary] = person
        if answered:
            person.said.add(canary)
        return canary

    def record(self, person: Person, way: str, request: str, texts: Iterable[str]) -> None:
        """Search a response that a person received.

        Args:
            person: Who received it.
            way: What they did.
            request: The request's method and path.
            texts: The response as it came, and as its parts read when they are joined.
        """
        seen: set[str] = set()
        for text in texts:
            lowered = text.lower()
            for match in CANARY.finditer(lowered):
                canary = match[0]
                if canary in seen:
                    continue
                seen.add(canary)
                if self._owners.get(canary) is person:
                    person.heard.add(canary)
                else:
                    around = lowered[max(0, match.start() - EXCERPT) : match.end() + EXCERPT]
                    self._found(person, canary, way, request, around)

    def _found(self, reader: Person, canary: str, way: str, request: str, excerpt: str) -> None:
        source = self._owners.get(canary)
        for finding in self.findings:
            if (finding.reader, finding.source, finding.way) == (reader, source, way):
                finding.count += 1
                return
        if len(self.findings) >= MAX_FINDINGS:
            self.unlisted += 1
            return
        self.findings.append(Finding(reader, source, way, request, excerpt))

    def disturbed(self, by: Person, whose: Person, way: str) -> None:
        """Note that somebody ended another's answer."""
        self.disturbances.append((by, whose, way))
