"""Random steps on trees of messages, against a model of plain dictionaries.

`Trees` is a state machine of Hypothesis; others extend it by further steps.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from memory.conversations.summaries import SummaryPart
from memory.engine.database import migrate, open_database
from memory.errors import (
    ConversationBusyError,
    ConversationNotFoundError,
    MessageNotShownError,
    NotOwnMessageError,
    StoreError,
)
from memory.maintenance.integrity import faults
from memory.manager import ConversationMemoryManager
from memory.records import (
    ContextState,
    ConversationOrigin,
    NewTurn,
    Role,
    StoredFile,
    TurnTicket,
)
from tests.campaigns import campaign
from tests.contract.conftest import ALICE, BOB, Clock

TIMES = campaign("CMW_STATEFUL")
OWNERS = (ALICE, BOB)
LEASE = 1e9  # no turn loses its lease, however long a test lets time pass
T = TypeVar("T")
TOKENS = 7  # of each answer
picks = st.integers(0, 60)  # a message by its number, now and then one that is not there
conversations = st.integers(0, 5)
texts = st.text(alphabet="ab é", max_size=4)
answers = st.none() | st.just("answer")  # none where the turn goes on
NAMES = itertools.count()  # of messages, in all conversations


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of the model."""

    parent: int
    role: Role
    content: str
    file: str | None = None  # the name of its file


@dataclasses.dataclass
class Tree:
    """What the model knows of one conversation: its messages by seq, and the last shown one."""

    owner: str
    title: str = ""
    is_named: bool = False  # by its owner
    messages: dict[int, Message] = dataclasses.field(default_factory=dict)
    last: int = 0
    ratings: dict[int, str] = dataclasses.field(default_factory=dict)
    answers: int = 0  # that this conversation has paid for
    running: TurnTicket | None = None
    cached: ContextState | None = None
    names: dict[int, int] = dataclasses.field(default_factory=dict)  # a copy has its original's

    def path(self, last: int | None = None) -> list[int]:
        """Walk from a message to the first one; return the seqs from the first one on."""
        seqs, seq = [], self.last if last is None else last
        while seq:
            seqs.append(seq)
            seq = self.messages[seq].parent
        return seqs[::-1]

    def newest_below(self, seq: int) -> int:
        """Return the newest message whose path leads through `seq`."""
        return max(each for each in self.messages if seq in self.path(each))

    def versions(self, seq: int) -> tuple[int, ...]:
        """Return all versions of a message."""
        one = self.messages[seq]
        return tuple(
            other for other, each in sorted(self.messages.items()) if each.parent == one.parent
        )

    def questions(self, before: int | None = None) -> list[int]:
        """Return the user's messages on the path, or those of them before a seq."""
        asked = [seq for seq in self.path() if self.messages[seq].role == "user"]
        return [seq for seq in asked if before is None or seq < before]

    def forked_at(self, seq: int) -> list[Message]:
        """Return the path through a message, and through its answer."""
        path = self.path()
        end = path.index(seq) + 1
        is_question = self.messages[seq].role == "user"
        if is_question and end < len(path) and self.messages[path[end]].role == "assistant":
            end += 1
        return [self.messages[each] for each in path[:end]]

    def add(self, seq: int, message: Message) -> None:
        """Add a message, which then ends the path."""
        assert seq not in self.messages
        self.names.setdefault(seq, next(NAMES))
        self.messages[seq] = message
        self.last = seq

    def retitle(self) -> None:
        """Take the title of the first message, unless the owner has given one."""
        first = self.messages[self.path()[0]]
        if first.role == "user" and not self.is_named:
            self.title = " ".join(first.content.split())

    def extend(self, messages: Iterable[Message]) -> None:
        """Add messages that follow each other."""
        for message in messages:
            self.add(len(self.messages) + 1, dataclasses.replace(message, parent=self.last))


class Trees(RuleBasedStateMachine):
    """Random steps of the owners against the store and the model at once.

    Here one owner has all conversations, and another one looks on.
    """

    url = "sqlite:///:memory:"
    most = 3  # conversations

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.keys = (f"k{number}" for number in itertools.count())
        self.database = open_database(self.url)
        self.run(migrate(self.database))
        self.memory = ConversationMemoryManager(
            self.database, lease_seconds=LEASE, clock=self.clock
        )
        for owner in OWNERS:
            self.run(self.memory.forget_files(owner))
            self.run(self.memory.forget(owner))
        self.trees: dict[str, Tree] = {}
        self.parts: list[tuple[str, Tree, SummaryPart]] = []
        self.file_names = (f"f{number}" for number in itertools.count())

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        try:
            self.check_at_the_end()
        finally:
            self.run(self.database.dispose())
            self.runner.close()

    def check_at_the_end(self) -> None:
        """Check what an example leaves behind."""
        assert not any(self.run(faults(self.database)).values())

    def chosen(self, number: int) -> tuple[str, Tree]:
        name = list(self.trees)[number % len(self.trees)]
        return name, self.trees[name]

    def attempt(self, call: Coroutine[Any, Any, T], refusal: type[StoreError] | None) -> T | None:
        if refusal is None:
            return self.run(call)
        with pytest.raises(refusal):
            self.run(call)
        return None

    def uploaded(self, owner: str, name: str) -> str:
        """Store the record of an upload that belongs to no message; return its id."""
        file_id = next(self.keys)
        file = StoredFile(
            file_id, None, None, name, "text/plain", "document", 3, 7, name, self.clock()
        )
        self.run(self.memory.add_file(owner, file, bound_of=lambda *_: None))
        return file_id

    def seq_of(self, tree: Tree, pick: int) -> int:
        return pick % (len(tree.messages) + 2)

    def refusal(
        self, tree: Tree, seq: int, *, shown: bool = True, asks: bool = False
    ) -> type[StoreError] | None:
        """Return how a step at a message is refused; one that `asks` the model needs a question."""
        if seq == 0:  # no message ever has it
            return ConversationNotFoundError
        if tree.running is not None:
            return ConversationBusyError
        if seq not in tree.messages or (asks and not tree.questions()):
            return ConversationNotFoundError
        if shown and seq not in tree.path():
            return MessageNotShownError
        return None

    def answered(self, name: str, ticket: TurnTicket, answer: str | None) -> None:
        """The model's half of a turn that has begun, and its window; with an answer, its end."""
        tree = self.trees[name]
        tree.add(ticket.answer_seq, Message(ticket.user_seq, "assistant", ""))
        tree.running, tree.answers = ticket, tree.answers + 1
        if not ticket.follows:
            path = [seq for seq in tree.path()[:-1] if tree.messages[seq].role == "user"]
            window = [message.seq for message in ticket.window if message.role == "user"]
            assert window == path[-len(window) :]
            assert {m.seq for m in ticket.window} <= set(tree.path())
        assert ticket.summarized_through_seq in {0, *tree.path()}
        if answer is not None:
            self.finish(name, answer)

    @initialize()
    def begin(self) -> None:
        self.trees["s"] = Tree(ALICE, "hello")
        ticket = self.run(
            self.memory.begin_turn(
                ALICE,
                NewTurn("s", "hello", key=next(self.keys), origin=ConversationOrigin(), budget=999),
            )
        )
        self.trees["s"].add(1, Message(0, "user", "hello"))
        self.answered("s", ticket, "answer")

    @rule(
        number=conversations,
        text=texts,
        answer=answers,
        is_known=st.booleans(),
        with_file=st.booleans(),
    )
    def send(
        self, number: int, text: str, answer: str | None, is_known: bool, with_file: bool
    ) -> None:
        name, tree = self.chosen(number)
        file = next(self.file_names) if with_file and tree.running is None else None
        new = NewTurn(
            name,
            text,
            key=next(self.keys),
            budget=999,
            known=tree.cached if is_known else None,
            files=[] if file is None else [self.uploaded(tree.owner, file)],
        )
        busy = ConversationBusyError if tree.running is not None else None
        if (ticket := self.attempt(self.memory.begin_turn(tree.owner, new), busy)) is None:
            return
        if is_known and tree.cached is not None:
            assert ticket.follows == (tree.cached.seq == tree.last)
        tree.add(ticket.user_seq, Message(tree.last, "user", text, file))
        self.answered(name, ticket, answer)

    @rule(number=conversations, text=texts)
    def end(self, number: int, text: str) -> None:
        self.finish(self.chosen(number)[0], text)

    def finish(self, name: str, text: str) -> None:
        tree = self.trees[name]
        if (ticket := tree.running) is None:
            return
        ended = self.memory.finish_turn(
            tree.owner,
            ticket.turn_id,
            status="complete",
            content=text,
            tool_calls=[],
            tokens_used=TOKENS,
            latency_ms=1,
            model_used="m",
            error_id=None,
        )
        assert self.run(ended)
        tree.messages[ticket.answer_seq] = Message(ticket.user_seq, "assistant", text)
        tree.running = None
        # What a live session keeps of the conversation for its next turn.
        created_at = self.run(self.memory.conversation(tree.owner, name)).started_at
        tree.cached = ContextState(ticket.answer_seq, ticket.summarized_through_seq, created_at)

    @rule(number=conversations, pick=st.none() | picks, answer=answers)
    def retry(self, number: int, pick: int | None, answer: str | None) -> None:
        name, tree = self.chosen(number)
        seq = None if pick is None else self.seq_of(tree, pick)
        refusal = self.refusal(tree, tree.last if seq is None else seq, asks=True)
        questions = tree.questions()
        if refusal is None and seq is not None:
            is_question = tree.messages[seq].role == "user"
            questions = [seq] if is_question else tree.questions(before=seq)
        if refusal is None and not questions:
            refusal = ConversationNotFoundError
        ticket = self.attempt(
            self.memory.begin_retry(tree.owner, name, key=next(self.keys), seq=seq, budget=999),
            refusal,
        )
        if ticket is not None:
            tree.last = questions[-1]
            assert ticket.user_seq == tree.last
            self.answered(name, ticket, answer)

    @rule(number=conversations, pick=picks, text=texts, answer=answers)
    def edit(self, number: int, pick: int, text: str, answer: str | None) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        refusal = self.refusal(tree, seq, asks=True)
        if refusal is None and tree.messages[seq].role == "assistant":
            refusal = NotOwnMessageError
        ticket = self.attempt(
            self.memory.begin_retry(
                tree.owner, name, key=next(self.keys), seq=seq, text=text, budget=999
            ),
            refusal,
        )
        if ticket is not None:
            # An edited message has the file of the version before it.
            tree.add(ticket.user_seq, dataclasses.replace(tree.messages[seq], content=text))
            if tree.path() == [ticket.user_seq]:
                tree.retitle()
            self.answered(name, ticket, answer)

    @rule(number=conversations, pick=picks)
    def select(self, number: int, pick: int) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        refusal = self.refusal(tree, seq, shown=False)
        self.attempt(self.memory.select_version(tree.owner, name, seq), refusal)
        if refusal is None and seq not in tree.path():
            first = tree.path()[0]
            tree.last = tree.newest_below(seq)
            if tree.path()[0] != first:
                tree.retitle()

    @rule(number=conversations, pick=picks)
    def fork(self, number: int, pick: int) -> None:
        if len(self.trees) >= self.most:
            return
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        refusal, copies = self.refusal(tree, seq), {}
        if refusal is None:
            plan = self.run(self.memory.plan_fork(tree.owner, name, seq))
            copies = {
                file_id: self.uploaded(tree.owner, tree.messages[at].file or "")
                for at, file_id in plan.files
            }
        new_name = self.attempt(
            self.memory.fork(tree.owner, name, seq, context={}, copies=copies), refusal
        )
        if new_name is None:
            return
        copy = self.trees[new_name] = Tree(tree.owner, f"Fork: {tree.title}".strip())
        copy.title = copy.title.replace("Fork: Fork: ", "Fork: ")
        copy.names = dict(enumerate((tree.names[each] for each in tree.path()), start=1))
        copy.extend(tree.forked_at(seq))

    @rule(number=conversations, pick=picks, rating=st.sampled_from(["like", "dislike"]))
    def rate(self, number: int, pick: int, rating: Any) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        is_answer = seq in tree.messages and tree.messages[seq].role == "assistant"
        refusal = None if is_answer else ConversationNotFoundError
        self.attempt(self.memory.rate(tree.owner, name, seq, rating), refusal)
        if is_answer:
            tree.ratings[seq] = rating

    @rule(number=conversations, pick=picks, is_late=st.booleans())
    def summarise(self, number: int, pick: int, is_late: bool) -> None:
        """Claim a part, and summarise it at once or some time later."""
        name, tree = self.chosen(number)
        before = self.seq_of(tree, pick)
        part = self.run(self.memory.claim_older(tree.owner, name, before_seq=before, min_tokens=1))
        if part is not None:
            self.parts.append((name, tree, part))
            if not is_late:
                self.store_summary(-1)

    @rule(pick=picks)
    def summarise_late(self, pick: int) -> None:
        if self.parts:
            self.store_summary(pick % len(self.parts))

    def store_summary(self, index: int) -> None:
        """Store a summary that names the messages that it covers."""
        name, tree, part = self.parts.pop(index)
        names = tree.names
        covered = f"{part.summary or ''} {' '.join(str(names[m.seq]) for m in part.messages)}"
        self.run(self.memory.store_summary(tree.owner, name, part, covered))

    @invariant()
    def the_store_is_the_tree(self) -> None:
        for name in self.looked_at(self.trees):
            self.check_tree(name, self.trees[name])

    def looked_at(self, names: Iterable[str]) -> list[str]:
        """Return which of these are compared after each step."""
        return list(names)

    def check_tree(self, name: str, tree: Tree) -> None:
        path = tree.path()
        shown = {seq: tree.messages[seq] for seq in path}
        stored = self.run(self.memory.messages(tree.owner, name, limit=500))
        assert [(m.seq, m.parent_seq, m.role, m.content) for m in stored] == [
            (seq, m.parent, m.role, m.content) for seq, m in shown.items()
        ]
        files = self.run(self.memory.files_of(tree.owner, name))
        assert [(file.seq, file.name) for file in files] == [
            (seq, m.file) for seq, m in shown.items() if m.file
        ]
        assert not any(m.superseded for m in stored)
        links = self.run(self.memory.path(tree.owner, name, limit=500))
        assert [(link.seq, link.parent_seq) for link in links] == [
            (m.seq, m.parent_seq) for m in stored
        ]
        assert self.run(self.memory.versions(tree.owner, name, stored)) == {
            seq: tree.versions(seq) for seq in path if len(tree.versions(seq)) > 1
        }
        everything = self.run(
            self.memory.messages_after(tree.owner, name, after_seq=0, limit=500, all_versions=True)
        )
        assert {m.seq: (m.parent_seq, m.role, m.content) for m in everything} == {
            seq: (m.parent, m.role, m.content) for seq, m in tree.messages.items()
        }
        assert {m.seq for m in everything if not m.superseded} == set(path)
        assert {m.seq: m.feedback for m in everything if m.feedback} == tree.ratings
        conversation = self.run(self.memory.conversation(tree.owner, name))
        assert (conversation.message_count, conversation.title) == (len(path), tree.title)
        covered = [int(each) for each in (conversation.summary or "").split()]
        assert covered == [tree.names[seq] for seq in path if tree.names[seq] in covered]
        assert self.run(self.memory.cost(tree.owner, name)).tokens == TOKENS * (
            tree.answers - (tree.running is not None)
        )

    @rule(number=conversations, pick=picks)
    def nobody_else_has_it(self, number: int, pick: int) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        other = ALICE if tree.owner == BOB else BOB
        for call in (
            self.memory.select_version(other, name, seq),
            self.memory.fork(other, name, seq, context={}, copies={}),
            self.memory.begin_retry(other, name, key="k", seq=seq),
            self.memory.messages(other, name, all_versions=True),
        ):
            self.attempt(call, ConversationNotFoundError)
        stored = self.run(self.memory.messages(tree.owner, name))
        assert self.run(self.memory.versions(other, name, stored)) == {}
        assert self.run(self.memory.files_of(other, name)) == []


def check(machine: type[Trees], url: str, examples: int, steps: int = 40) -> None:
    """Run so many random examples, each of so many steps, of a machine on the database at `url`."""
    placed = type(machine.__name__, (machine,), {"url": url})
    run_state_machine_as_test(
        placed,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate],  # shrinking takes longer than a test may
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
