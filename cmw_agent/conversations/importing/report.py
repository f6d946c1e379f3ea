"""Counts what an import does and leaves out, and describes it in plain sentences."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cmw_agent.conversations.importing.records import SOURCE_NAMES, ImportLimits, Source
from cmw_agent.language import Joined, Wording, joined, wording, wordings

MAX_NAMED = 3  # titles of conversations, and names of files, in a sentence
MAX_PROBLEMS = 100  # that the result lists
TITLE_CHARS = 60
# Why a conversation is not imported: by itself, and for a number of them.
REASONS: Mapping[str, tuple[Wording, Wording]] = MappingProxyType(
    {
        "long": (
            wording("has a message longer than {message_chars} characters"),
            wordings(
                "{count} has a message longer than {message_chars} characters",
                "{count} have a message longer than {message_chars} characters",
                1,
            ),
        ),
        "long_answer": (
            wording("has an answer longer than {answer_chars} characters"),
            wordings(
                "{count} has an answer longer than {answer_chars} characters",
                "{count} have an answer longer than {answer_chars} characters",
                1,
            ),
        ),
        "circle": (
            wording("has messages that form a circle"),
            wordings(
                "{count} has messages that form a circle",
                "{count} have messages that form a circle",
                1,
            ),
        ),
        "empty": (
            wording("has no messages"),
            wordings("{count} has no messages", "{count} have no messages", 1),
        ),
        "shape": (
            wording("has a form that is not known"),
            wordings(
                "{count} has a form that is not known", "{count} have a form that is not known", 1
            ),
        ),
        "broken": (
            wording("is broken JSON"),
            wordings("{count} is broken JSON", "{count} are broken JSON", 1),
        ),
        "large": (
            wording("is larger than {conversation_megabytes} MB"),
            wordings(
                "{count} is larger than {conversation_megabytes} MB",
                "{count} are larger than {conversation_megabytes} MB",
                1,
            ),
        ),
        "deep": (
            wording("is nested too deeply"),
            wordings("{count} is nested too deeply", "{count} are nested too deeply", 1),
        ),
        "many": (
            wording("has more than {messages} messages"),
            wordings(
                "{count} has more than {messages} messages",
                "{count} have more than {messages} messages",
                1,
            ),
        ),
        "changed": (
            wording("was deleted meanwhile"),
            wordings("{count} was deleted meanwhile", "{count} were deleted meanwhile", 1),
        ),
        "stored": (
            wording("has a text that cannot be stored"),
            wordings(
                "{count} has a text that cannot be stored",
                "{count} have a text that cannot be stored",
                1,
            ),
        ),
    }
)
# Why the rest of a file is not read.
FAILURES: Mapping[str, Wording] = MappingProxyType(
    {
        "shape": wording(
            "This file holds no conversations that can be read: it must be an export of this "
            "app, ChatGPT, Claude or Open WebUI, as JSON or ZIP."
        ),
        "broken": wording("This file holds no JSON that can be read."),
        "large": wording(
            "The conversation in this file is larger than {conversation_megabytes} MB."
        ),
        "deep": wording("The JSON in this file is nested too deeply."),
        "cut": wording("The file ends in the middle of its JSON."),
        "archive": wording("The ZIP archive is damaged, or locked with a password."),
        "entries": wording("The ZIP archive holds too many files."),
        "total": wording("The file unpacks to more than {total_megabytes} MB."),
        "memory": wording("The file is too complex to be read."),
        "events": wording("The file holds too many conversations, messages and files."),
        "time": wording("Reading the file took too long."),
        "worker": wording("The file could not be read."),
        "unavailable": wording("Files cannot be imported on this server."),
        "budget": wording("No more can be imported right now; please import the rest in an hour."),
        "stopped": wording("Everything was deleted meanwhile."),
        "cancelled": wording("You stopped the import."),
        "left": wording("The request was left early."),
        "login": wording("You signed in or out meanwhile; please import the file again."),
        "closing": wording(
            "The app restarts; please import the file again in a moment. What is here "
            "already is skipped."
        ),
        "full": wording("No more can be stored right now; please try again later."),
    }
)
NOTES: Mapping[str, Wording] = MappingProxyType(
    {
        "system": wordings(
            "{count} hidden instruction was left out.",
            "{count} hidden instructions were left out.",
            1,
        ),
        "tools": wordings(
            "{count} step of a tool was left out.", "{count} steps of tools were left out.", 1
        ),
        "versions": wordings(
            "{count} message of another version was imported, too.",
            "{count} messages of other versions were imported, too.",
            1,
        ),
        "parents": wordings(
            "{count} message follows one that is not in the file, and begins another version.",
            "{count} messages follow ones that are not in the file, and begin other versions.",
            1,
        ),
        "changed": wordings(
            "{count} conversation differs from the one that is here already; it was imported beside it.",
            "{count} conversations differ from those that are here already; all stay.",
            1,
        ),
        "characters": wordings(
            "In {count} text, characters that cannot be stored were replaced by �.",
            "In {count} texts, characters that cannot be stored were replaced by �.",
            1,
        ),
        "times": wordings(
            "{count} message had a time in the future, which was set to now.",
            "{count} messages had a time in the future, which was set to now.",
            1,
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
            self.problems.append({"title": title, "reason": self._text(REASONS[reason][0])})

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
            "sentence": joined(*self._sentences()),
            "problems": self.problems,
        }

    def failure_sentence(self, reason: str) -> str:
        """Return why a file cannot be read; `reason` is a key of `FAILURES`."""
        return self._text(FAILURES.get(reason, FAILURES["worker"]))

    def _sentences(self) -> Iterator[str]:
        total = self.imported + self.refused.total()
        if not total and self.known:
            yield self._all_known()
        elif self.refused.total():
            yield self._partly_imported(total)
        else:
            yield wordings(
                "{count} conversation{came_from} was imported.",
                "{count} conversations{came_from} were imported.",
                total,
                came_from=self._came_from,
            )
        if total and self.known:
            yield wordings(
                "{count} was here already and was skipped.",
                "{count} were here already and were skipped.",
                self.known,
            )
        if self.failure is not None:
            reason = self.failure_sentence(self.failure)
            yield wording("The rest was not read: {reason}", reason=reason)
        for reason, count in self.lost_files.items():
            yield wordings(
                "{count} file was left out ({names}): {reason}",
                "{count} files were left out ({names}): {reason}",
                count,
                names=_named(self.lost_names[reason], count),
                reason=reason,
            )
        for kind, count in self.notes.items():
            if count and kind in NOTES:
                yield NOTES[kind].counting(count)

    @property
    def _came_from(self) -> str:
        if self.source is None:
            return ""
        return wording(" from {source}", source=SOURCE_NAMES[self.source])

    def _partly_imported(self, total: int) -> Wording:
        refused = self.refused.total()
        if total == 1:
            done = wording(
                "0 of 1 conversation{came_from} were imported", came_from=self._came_from
            )
        else:
            done = wordings(
                "{count} of {total} conversations{came_from} was imported",
                "{count} of {total} conversations{came_from} were imported",
                self.imported,
                total=total,
                came_from=self._came_from,
            )
        return wording(
            "{imported}; {refused}: {reasons}.",
            imported=done,
            refused=wordings("{count} was not", "{count} were not", refused),
            reasons=Joined(tuple(map(self._reason, self.refused)), "; "),
        )

    def _all_known(self) -> Wording:
        return wordings(
            "Nothing new: the conversation{came_from} was here already.",
            "Nothing new: all {count} conversations{came_from} were here already.",
            self.known,
            came_from=self._came_from,
        )

    def _reason(self, reason: str) -> str:
        count, titles = self.refused[reason], self.titles.get(reason, [])
        text = self._text(REASONS[reason][1].counting(count))
        if not titles:
            return text
        named = _named([f"“{title}”" for title in titles], count)
        return wording("{reason} ({names})", reason=text, names=named)

    def _text(self, sentence: Wording) -> Wording:
        limits = self.limits
        return sentence.using(
            message_chars=limits.message_chars,
            answer_chars=limits.answer_chars,
            messages=limits.messages,
            conversation_megabytes=limits.conversation_bytes // 1_000_000,
            total_megabytes=limits.total_bytes // 1_000_000,
        )


def _named(names: list[str], count: int) -> str:
    shown = ", ".join(names)
    if count <= len(names):
        return shown
    return wording("{names} and {count} more", names=shown, count=count - len(names))
