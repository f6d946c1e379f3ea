"""Random steps on the tree of messages: each conversation equals a plain dictionary of messages."""

import asyncio
import dataclasses
import itertools
from collections.abc import Coroutine
from pathlib import Path
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
from memory.records import ContextState, ConversationOrigin, NewTurn, TurnTicket
from tests.contract.conftest import ALICE, BOB, LEASE, Clock

pytestmark = pytest.mark.slow
T = TypeVar("T")
TOKENS = 7  # of each answer
picks = st.integers(0, 60)  # a message by its number, now and then one that is not there
conversations = st.integers(0, 2)
texts = st.text(alphabet="ab é", max_size=4)
answers = st.none() | st.just("answer")  # none where the turn goes on
NAMES = itertools.count()  # of messages, in all conversations


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of the model."""

    parent: int
    role: str
    content: str


@dataclasses.dataclass
class Tree:
    """What the model knows of one conversation: its messages by seq, and the last shown one."""

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

    def add(self, seq: int, parent: int, role: str, content: str) -> None:
        """Add a message, which then ends the path."""
        assert seq not in self.messages
        self.names.setdefault(seq, next(NAMES))
        self.messages[seq] = Message(parent, role, content)
        self.last = seq


class Trees(RuleBasedStateMachine):
    """Random steps of one owner against the store and the model at once; another one looks on."""

    url = "sqlite:///:memory:"

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
        for owner in (ALICE, BOB):
            self.run(self.memory.forget(owner))
        self.trees: dict[str, Tree] = {}
        self.parts: list[tuple[str, SummaryPart]] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        assert not any(self.run(faults(self.database)).values())
        self.run(self.database.dispose())
        self.runner.close()

    def chosen(self, number: int) -> tuple[str, Tree]:
        name = list(self.trees)[number % len(self.trees)]
        return name, self.trees[name]

    def attempt(self, call: Coroutine[Any, Any, T], refusal: type[StoreError] | None) -> T | None:
        if refusal is None:
            return self.run(call)
        with pytest.raises(refusal):
            self.run(call)
        return None

    def seq_of(self, tree: Tree, pick: int) -> int:
        return pick % (len(tree.messages) + 2)

    def refusal(self, tree: Tree, seq: int, *, shown: bool = True) -> type[StoreError] | None:
        if seq == 0:  # no message ever has it
            return ConversationNotFoundError
        if tree.running is not None:
            return ConversationBusyError
        if seq not in tree.messages:
            return ConversationNotFoundError
        if shown and seq not in tree.path():
            return MessageNotShownError
        return None

    def answered(self, name: str, ticket: TurnTicket, answer: str | None) -> None:
        """The model's half of a turn that has begun, and its window; with an answer, its end."""
        tree = self.trees[name]
        tree.add(ticket.answer_seq, ticket.user_seq, "assistant", "")
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
        self.trees["s"] = Tree()
        ticket = self.run(
            self.memory.begin_turn(
                ALICE,
                NewTurn("s", "hello", key=next(self.keys), origin=ConversationOrigin(), budget=999),
            )
        )
        self.trees["s"].add(1, 0, "user", "hello")
        self.answered("s", ticket, "answer")

    @rule(number=conversations, text=texts, answer=answers, is_known=st.booleans())
    def send(self, number: int, text: str, answer: str | None, is_known: bool) -> None:
        name, tree = self.chosen(number)
        new = NewTurn(
            name, text, key=next(self.keys), budget=999, known=tree.cached if is_known else None
        )
        busy = ConversationBusyError if tree.running is not None else None
        if (ticket := self.attempt(self.memory.begin_turn(ALICE, new), busy)) is None:
            return
        if is_known and tree.cached is not None:
            assert ticket.follows == (tree.cached.seq == tree.last)
        tree.add(ticket.user_seq, tree.last, "user", text)
        self.answered(name, ticket, answer)

    @rule(number=conversations, text=texts)
    def end(self, number: int, text: str) -> None:
        self.finish(self.chosen(number)[0], text)

    def finish(self, name: str, text: str) -> None:
        tree = self.trees[name]
        if (ticket := tree.running) is None:
            return
        ended = self.memory.finish_turn(
            ALICE,
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
        created_at = self.run(self.memory.conversation(ALICE, name)).started_at
        tree.cached = ContextState(ticket.answer_seq, ticket.summarized_through_seq, created_at)

    @rule(number=conversations, pick=st.none() | picks, answer=answers)
    def retry(self, number: int, pick: int | None, answer: str | None) -> None:
        name, tree = self.chosen(number)
        seq = None if pick is None else self.seq_of(tree, pick)
        questions = [each for each in tree.path() if tree.messages[each].role == "user"]
        target = questions[-1] if seq is None else seq
        ticket = self.attempt(
            self.memory.begin_retry(ALICE, name, key=next(self.keys), seq=seq, budget=999),
            self.refusal(tree, target),
        )
        if ticket is not None:
            is_question = tree.messages[target].role == "user"
            tree.last = target if is_question else tree.messages[target].parent
            assert ticket.user_seq == tree.last
            self.answered(name, ticket, answer)

    @rule(number=conversations, pick=picks, text=texts, answer=answers)
    def edit(self, number: int, pick: int, text: str, answer: str | None) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        refusal = self.refusal(tree, seq)
        if refusal is None and tree.messages[seq].role == "assistant":
            refusal = NotOwnMessageError
        ticket = self.attempt(
            self.memory.begin_retry(
                ALICE, name, key=next(self.keys), seq=seq, text=text, budget=999
            ),
            refusal,
        )
        if ticket is not None:
            tree.add(ticket.user_seq, tree.messages[seq].parent, "user", text)
            self.answered(name, ticket, answer)

    @rule(number=conversations, pick=picks)
    def select(self, number: int, pick: int) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        refusal = self.refusal(tree, seq, shown=False)
        self.attempt(self.memory.select_version(ALICE, name, seq), refusal)
        if refusal is None and seq not in tree.path():
            tree.last = tree.newest_below(seq)

    @rule(number=conversations, pick=picks)
    def fork(self, number: int, pick: int) -> None:
        if len(self.trees) == 3:
            return
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        refusal = self.refusal(tree, seq)
        new_name = self.attempt(self.memory.fork(ALICE, name, seq, context={}, copies={}), refusal)
        if new_name is None:
            return
        path = tree.path()
        end = path.index(seq) + (2 if tree.messages[seq].role == "user" else 1)
        copy = self.trees[new_name] = Tree()
        for new_seq, old_seq in enumerate(path[:end], start=1):
            old = tree.messages[old_seq]
            copy.names[new_seq] = tree.names[old_seq]
            copy.add(new_seq, new_seq - 1, old.role, old.content)

    @rule(number=conversations, pick=picks, rating=st.sampled_from(["like", "dislike"]))
    def rate(self, number: int, pick: int, rating: Any) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        is_answer = seq in tree.messages and tree.messages[seq].role == "assistant"
        refusal = None if is_answer else ConversationNotFoundError
        self.attempt(self.memory.rate(ALICE, name, seq, rating), refusal)
        if is_answer:
            tree.ratings[seq] = rating

    @rule(number=conversations, pick=picks, is_late=st.booleans())
    def summarise(self, number: int, pick: int, is_late: bool) -> None:
        """Claim a part, and summarise it at once or some time later."""
        name, tree = self.chosen(number)
        before = self.seq_of(tree, pick)
        part = self.run(self.memory.claim_older(ALICE, name, before_seq=before, min_tokens=1))
        if part is not None:
            self.parts.append((name, part))
            if not is_late:
                self.store_summary(-1)

    @rule()
    def summarise_late(self) -> None:
        if self.parts:
            self.store_summary(0)

    def store_summary(self, index: int) -> None:
        """Store a summary that names the messages that it covers."""
        name, part = self.parts.pop(index)
        names = self.trees[name].names
        covered = f"{part.summary or ''} {' '.join(str(names[m.seq]) for m in part.messages)}"
        self.run(self.memory.store_summary(ALICE, name, part, covered))

    @invariant()
    def the_store_is_the_tree(self) -> None:
        for name, tree in self.trees.items():
            path = tree.path()
            stored = self.run(self.memory.messages(ALICE, name, limit=500))
            assert [(m.seq, m.parent_seq, m.role, m.content) for m in stored] == [
                (seq, *dataclasses.astuple(tree.messages[seq])) for seq in path
            ]
            assert not any(m.superseded for m in stored)
            links = self.run(self.memory.path(ALICE, name, limit=500))
            assert [(link.seq, link.parent_seq) for link in links] == [
                (m.seq, m.parent_seq) for m in stored
            ]
            assert self.run(self.memory.versions(ALICE, name, stored)) == {
                seq: tree.versions(seq) for seq in path if len(tree.versions(seq)) > 1
            }
            everything = self.run(
                self.memory.messages_after(ALICE, name, after_seq=0, limit=500, all_versions=True)
            )
            assert {m.seq: Message(m.parent_seq, m.role, m.content) for m in everything} == (
                tree.messages
            )
            assert {m.seq for m in everything if not m.superseded} == set(path)
            assert {m.seq: m.feedback for m in everything if m.feedback} == tree.ratings
            conversation = self.run(self.memory.conversation(ALICE, name))
            assert conversation.message_count == len(path)
            covered = [int(each) for each in (conversation.summary or "").split()]
            assert covered == [tree.names[seq] for seq in path if tree.names[seq] in covered]
            assert self.run(self.memory.cost(ALICE, name)).tokens == TOKENS * (
                tree.answers - (tree.running is not None)
            )

    @rule(number=conversations, pick=picks)
    def nobody_else_has_it(self, number: int, pick: int) -> None:
        name, tree = self.chosen(number)
        seq = self.seq_of(tree, pick)
        for call in (
            self.memory.select_version(BOB, name, seq),
            self.memory.fork(BOB, name, seq, context={}, copies={}),
            self.memory.begin_retry(BOB, name, key="k", seq=seq),
            self.memory.messages(BOB, name, all_versions=True),
        ):
            self.attempt(call, ConversationNotFoundError)
        stored = self.run(self.memory.messages(ALICE, name))
        assert self.run(self.memory.versions(BOB, name, stored)) == {}


def run(url: str, examples: int) -> None:
    class Placed(Trees):
        pass

    Placed.url = url
    run_state_machine_as_test(
        Placed,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.generate],  # shrinking takes longer than a test may
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_the_tree_in_a_file_is_the_model_s(tmp_path: Path) -> None:
    run(f"sqlite:///{tmp_path / 'chat.db'}", 25)


@pytest.mark.timeout(900)  # each example takes many round trips
def test_the_tree_on_a_server_is_the_model_s(postgres_server: str) -> None:
    run(postgres_server, 15)
