"""Counts what an import does and leaves out, and describes it in plain sentences."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cmw_agent.conversations.importing.records import SOURCE_NAMES, ImportLimits, Source

MAX_NAMED = 3  # titles of conversations, and names of files, in a sentence
MAX_PROBLEMS = 100  # that the result lists
TITLE_CHARS = 60
# Why a conversation is not imported, after "12 of 15 conversations were imported; 3 were not: 1 …".
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "long": "has a message longer than {message_chars:,} characters",
        "long_answer": "has an answer longer than {answer_chars:,} characters",
        "circle": "has messages that form a circle",
        "empty": "has no messages",
        "shape": "has a form that is not known",
        "broken": "is broken JSON",
        "large": "is larger than {conversation_megabytes:,} MB",
        "deep": "is nested too deeply",
        "many": "has more than {messages:,} messages",
        "changed": "was deleted meanwhile",
        "stored": "has a text that cannot be stored",
    }
)
PLURALS: Mapping[str, str] = MappingProxyType({"has": "have", "is": "are", "was": "were"})
# Why the rest of a file is not read.
FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "shape": "This file holds no conversations that can be read: it must be an export of this "
        "app, ChatGPT, Claude or Open WebUI, as JSON or ZIP.",
        "broken": "This file holds no JSON that can be read.",
        "large": "The conversation in this file is larger than {conversation_megabytes:,} MB.",
        "deep": "The JSON in this file is nested too deeply.",
        "cut": "The file ends in the middle of its JSON.",
        "archive": "The ZIP archive is damaged, or locked with a password.",
        "entries": "The ZIP archive holds too many files.",
        "total": "The file unpacks to more than {total_megabytes:,} MB.",
        "memory": "The file is too complex to be read.",
        "events": "The file holds too many conversations, messages and files.",
        "time": "Reading the file took too long.",
        "worker": "The file could not be read.",
        "unavailable": "Files cannot be imported on this server.",
        "budget": "No more can be imported right now; please import the rest in an hour.",
        "stopped": "Everything was deleted meanwhile.",
        "cancelled": "You stopped the import.",
        "left": "The request was left early.",
        "login": "You signed in or out meanwhile; please import the file again.",
        "closing": "The app restarts; please import the file again in a moment. What is here "
        "already is skipped.",
        "full": "No more can be stored right now; please try again later.",
    }
)
NOTES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "system": (
            "1 hidden instruction was left out.",
            "{count:,} hidden instructions were left out.",
        ),
        "tools": ("1 step of a tool was left out.", "{count:,} steps of tools were left out."),
        "versions": (
            "1 message of another version was imported, too.",
            "{count:,} messages of other versions were imported, too.",
        ),
        "parents": (
            "1 message follows one that is not in the file, and begins another version.",
            "{count:,} messages follow ones that are not in the file, and begin other versions.",
        ),
        "changed": (
            "1 conversation differs from the one that is here already; it was imported beside it.",
            "{count:,} conversations differ from those that are here already; all stay.",
        ),
        "characters": (
            "In 1 text, characters that cannot be stored were replaced by �.",
            "In {count:,} texts, characters that cannot be stored were replaced by �.",
        ),
        "times": (
            "1 message had a time in the future, which was set to now.",
            "{count:,} messages had a time in the future, which was set to now.",
        ),
    }
)


@dataclass(slots=True)
class ImportReport:
    """Counts what an import does.

    Attributes:
        limits: For the sentences.
        source: Where the conversations come from; None until it is known.
        imported: Conversations that are stored.
        known: Conversations that were here already, and are skipped.
        refused: Conversations that are not stored, by reason.
        titles: The first titles of those, by reason.
        problems: The first of those, each with its reason.
        share_read: How much of the file has been read, from 0 to 1.
        files: Files that are stored.
        lost_files: The names of files that are not.
        notes: What was left out or changed, by kind.
        failure: Why the rest of the file was not read; None where all of it was.
    """

    limits: ImportLimits
    source: Source | None = None
    imported: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    titles: dict[str, list[str]] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)
    share_read: float = 0.0
    files: int = 0
    lost_files: Counter[str] = field(default_factory=Counter)
    lost_names: dict[str, list[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    failure: str | None = None

    def refuse(self, title: str, reason: str, count: int = 1) -> None:
        """Count conversations that are not imported, for one reason; `title` is that of a single one."""
        reason = reason if reason in REASONS else "shape"
        self.refused[reason] += count
        title = title[:TITLE_CHARS]
        if len(names := self.titles.setdefault(reason, [])) < MAX_NAMED and title:
            names.append(title)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"title": title, "reason": self._text(REASONS[reason])})

    def lose_file(self, name: str, reason: str) -> None:
        """Count a file that is not stored; `reason` is a sentence."""
        self.lost_files[reason] += 1
        if len(names := self.lost_names.setdefault(reason, [])) < MAX_NAMED:
            names.append(name[:TITLE_CHARS])

    @property
    def progress(self) -> dict[str, Any]:
        """What a client gets while the import runs."""
        return {
            "imported": self.imported,
            "skipped": self.known,
            "refused": self.refused.total(),
        }

    @property
    def result(self) -> dict[str, Any]:
        """What a client gets at the end."""
        return {
            "done": True,
            "is_complete": self.failure is None,
            "source": SOURCE_NAMES[self.source] if self.source is not None else None,
            **self.progress,
            "files": self.files,
            "files_left_out": self.lost_files.total(),
            "sentence": " ".join(self._sentences()),
            "problems": self.problems,
        }

    def failure_sentence(self, reason: str) -> str:
        """Return why a file cannot be read; `reason` is a key of `FAILURES`."""
        return self._text(FAILURES.get(reason, FAILURES["worker"]))

    def _sentences(self) -> Iterator[str]:
        refused = self.refused.total()
        total = self.imported + refused
        came_from = f" from {SOURCE_NAMES[self.source]}" if self.source is not None else ""
        conversations = "conversation" if total == 1 else "conversations"
        if not total and self.known:
            yield self._all_known(came_from)
        elif refused:
            verb, others = _was(self.imported), _was(refused)
            reasons = "; ".join(map(self._reason, self.refused))
            yield (
                f"{self.imported:,} of {total:,} {conversations}{came_from} {verb} imported; "
                f"{refused:,} {others} not: {reasons}."
            )
        else:
            yield f"{self.imported:,} {conversations}{came_from} {_was(total)} imported."
        if total and self.known:
            was = "1 was" if self.known == 1 else f"{self.known:,} were"
            yield f"{was} here already and {_was(self.known)} skipped."
        if self.failure is not None:
            yield f"The rest was not read: {self.failure_sentence(self.failure)}"
        for reason, count in self.lost_files.items():
            files = "1 file was" if count == 1 else f"{count:,} files were"
            yield f"{files} left out ({_named(self.lost_names[reason], count)}): {reason}"
        for kind, count in self.notes.items():
            if count and kind in NOTES:
                yield NOTES[kind][count > 1].format(count=count)

    def _all_known(self, came_from: str) -> str:
        if self.known == 1:
            return f"Nothing new: the conversation{came_from} was here already."
        return f"Nothing new: all {self.known:,} conversations{came_from} were here already."

    def _reason(self, reason: str) -> str:
        count, titles = self.refused[reason], self.titles.get(reason, [])
        named = f" ({_named([f'“{title}”' for title in titles], count)})" if titles else ""
        verb, rest = REASONS[reason].split(" ", 1)
        return f"{count:,} {verb if count == 1 else PLURALS[verb]} {self._text(rest)}{named}"

    def _text(self, sentence: str) -> str:
        limits = self.limits
        return sentence.format(
            message_chars=limits.message_chars,
            answer_chars=limits.answer_chars,
            messages=limits.messages,
            conversation_megabytes=limits.conversation_bytes // 1_000_000,
            total_megabytes=limits.total_bytes // 1_000_000,
        )


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _named(names: list[str], count: int) -> str:
    further = f" and {count - len(names):,} more" if count > len(names) else ""
    return ", ".join(names) + further
