"""Random operations of three owners: the memory equals a separate dictionary for each."""

import asyncio
import dataclasses
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from memory.engine.database import migrate, open_database
from memory.errors import ConversationBusyError, ConversationNotFoundError
from memory.manager import ConversationMemoryManager
from memory.records import (
    Arrangement,
    ConversationOrigin,
    MessageStatus,
    NewTurn,
    Section,
    TurnTicket,
)
from tests.contract.conftest import LEASE, Clock, postgres_server
from tests.databases import take_over

__all__ = ["postgres_server"]  # a fixture is found by its name here

pytestmark = pytest.mark.slow
T = TypeVar("T")
OWNERS = ("user:a", "user:b", "user:c")
owners = st.sampled_from(OWNERS)
texts = st.text(alphabet="abc é😀", max_size=8)
statuses = st.sampled_from(["complete", "interrupted", "failed"])


@dataclasses.dataclass
class Known:
    """What the model knows of one conversation."""

    messages: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    tickets: dict[str, TurnTicket] = dataclasses.field(default_factory=dict)
    running: str | None = None
    lease_ends: float = 0.0
    title: str = ""
    is_renamed: bool = False
    order: Arrangement = dataclasses.field(
        default_factory=lambda: Arrangement(is_pinned=False, is_archived=False, folder="")
    )
    deleted: bool = False

    @property
    def section(self) -> str:
        if self.order.is_archived:
            return "archived"
        return "arranged" if self.order.is_pinned or self.order.folder else "recent"


class Owners(RuleBasedStateMachine):
    """Random steps against the store and the model at once."""

    url = "sqlite:///:memory:"
    conversations = Bundle("conversations")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.passed = 0.0
        self.model: dict[tuple[str, str], Known] = {}
        self.made = 0
        self.turns = ["never-begun"]
        self.database = open_database(self.url)
        self.run(migrate(self.database))
        for owner in OWNERS:
            self.run(ConversationMemoryManager(self.database).forget(owner))
        self.memory = ConversationMemoryManager(
            self.database, lease_seconds=LEASE, clock=self.clock
        )

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.database.dispose())
        self.runner.close()

    def step(self) -> str:
        """A moment passes; a new key."""
        self.clock.advance(1)
        self.passed += 1
        self.made += 1
        return f"k{self.made}"

    def begun(self, known: Known, ticket: TurnTicket, key: str) -> None:
        self.turns.append(ticket.turn_id)
        known.tickets[key] = ticket
        known.running, known.lease_ends = ticket.turn_id, self.passed + LEASE
        known.messages.append(("assistant", "", "interrupted"))

    def expected_refusal(self, known: Known | None) -> type[Exception] | None:
        if known is None:
            return ConversationNotFoundError
        if known.running is not None and self.passed < known.lease_ends:
            return ConversationBusyError
        return None

    def attempt(self, call: Coroutine[Any, Any, T], refusal: type[Exception] | None) -> T | None:
        if refusal is None:
            return self.run(call)
        with pytest.raises(refusal):
            self.run(call)
        return None

    @initialize(target=conversations)
    def nothing_yet(self) -> str:
        return "never-made"

    @rule(target=conversations, owner=owners, text=texts)
    def create(self, owner: str, text: str) -> str:
        key = self.step()
        conversation_id = f"s{self.made}"
        ticket = self.run(
            self.memory.begin_turn(
                owner, NewTurn(conversation_id, text, key=key, origin=ConversationOrigin())
            )
        )
        known = self.model[owner, conversation_id] = Known([("user", text, "complete")])
        known.title = " ".join(text.split())
        self.begun(known, ticket, key)
        return conversation_id

    @rule(owner=owners, conversation_id=conversations, text=texts)
    def append(self, owner: str, conversation_id: str, text: str) -> None:
        key, known = self.step(), self.visible(owner, conversation_id)
        ticket = self.attempt(
            self.memory.begin_turn(owner, NewTurn(conversation_id, text, key=key)),
            self.expected_refusal(known),
        )
        if ticket is None or known is None:
            return
        known.messages.append(("user", text, "complete"))
        self.begun(known, ticket, key)

    @rule(owner=owners, conversation_id=conversations, text=st.none() | texts)
    def retry(self, owner: str, conversation_id: str, text: str | None) -> None:
        key, known = self.step(), self.visible(owner, conversation_id)
        ticket = self.attempt(
            self.memory.begin_retry(owner, conversation_id, key=key, text=text),
            self.expected_refusal(known),
        )
        if ticket is None or known is None:
            return
        known.messages.pop()
        if text is not None:
            known.messages[-1] = ("user", text, "complete")
            if len(known.messages) == 1 and not known.is_renamed:
                known.title = " ".join(text.split())
        self.begun(known, ticket, key)

    @rule(owner=owners, conversation_id=conversations, text=texts, pick=st.integers(0))
    def repeat(self, owner: str, conversation_id: str, text: str, pick: int) -> None:
        """A key that was used in a conversation, sent by anybody."""
        self.step()
        known = self.visible(owner, conversation_id)
        everyone = [each for (_, name), each in self.model.items() if name == conversation_id]
        tickets = [(k, t) for each in everyone for k, t in each.tickets.items()]
        if not tickets:
            return
        key, ticket = tickets[pick % len(tickets)]
        again = self.attempt(
            self.memory.begin_turn(owner, NewTurn(conversation_id, text, key=key)),
            None if known else ConversationNotFoundError,
        )
        if known is not None:
            assert again == dataclasses.replace(
                ticket,
                fresh=False,
                agent_id="",
                conversation_created_at=None,
                has_title=True,
                parent_seq=None,
            )
            if self.passed >= known.lease_ends:
                known.running = None

    @rule(owner=owners, pick=st.integers(0, 5), text=texts, status=st.none() | statuses)
    def write(self, owner: str, pick: int, text: str, status: MessageStatus | None) -> None:
        """A checkpoint, or with a status the end, of a turn not long ago, by anybody."""
        self.step()
        turn_id = self.turns[-1 - pick % len(self.turns)]
        known = next(
            (k for (o, _), k in self.model.items() if o == owner and k.running == turn_id), None
        )
        if status is None:
            keeping = self.memory.checkpoint(owner, turn_id, content=text, tool_calls=[])
            is_running = self.run(keeping) is not None
        else:
            ending = self.memory.finish_turn(
                owner,
                turn_id,
                status=status,
                content=text,
                tool_calls=[],
                tokens_used=None,
                latency_ms=None,
                model_used=None,
                error_id=None,
            )
            is_running = self.run(ending)
        assert is_running is (known is not None)
        if known is not None:
            known.messages[-1] = ("assistant", text, status or "interrupted")
            known.lease_ends = self.passed + LEASE
            known.running = None if status else turn_id

    def visible(self, owner: str, conversation_id: str) -> Known | None:
        known = self.model.get((owner, conversation_id))
        return known if known is not None and not known.deleted else None

    @rule(owner=owners, conversation_id=conversations, title=texts.filter(str.strip))
    def rename(self, owner: str, conversation_id: str, title: str) -> None:
        known = self.visible(owner, conversation_id)
        refusal = None if known else ConversationNotFoundError
        self.attempt(self.memory.rename(owner, conversation_id, title), refusal)
        if known is not None:
            known.title, known.is_renamed = " ".join(title.split()), True

    @rule(owner=owners, conversation_id=conversations, title=st.sampled_from(["a", "b"]))
    def name(self, owner: str, conversation_id: str, title: str) -> None:
        """A title of a model, which replaces none that the owner has given."""
        known = self.visible(owner, conversation_id)
        times = (
            [ticket.conversation_created_at for ticket in known.tickets.values()] if known else []
        )
        created_at = next((time for time in times if time is not None), self.clock())
        was_stored = self.run(
            self.memory.store_title(
                owner, conversation_id, title, conversation_created_at=created_at
            )
        )
        assert was_stored <= (known is not None and not known.is_renamed)
        if known is not None and was_stored:
            known.title = title

    @rule(
        owner=owners,
        conversation_id=conversations,
        change=st.builds(
            Arrangement,
            st.none() | st.booleans(),
            st.none() | st.booleans(),
            st.none() | st.sampled_from(["", "work"]),
        ),
    )
    def arrange(self, owner: str, conversation_id: str, change: Arrangement) -> None:
        known = self.visible(owner, conversation_id)
        refusal = None if known else ConversationNotFoundError
        self.attempt(self.memory.arrange(owner, conversation_id, change), refusal)
        if known is not None:
            given = {k: v for k, v in dataclasses.asdict(change).items() if v is not None}
            known.order = dataclasses.replace(known.order, **given)

    @rule(owner=owners, conversation_id=conversations)
    def delete(self, owner: str, conversation_id: str) -> None:
        known = self.visible(owner, conversation_id)
        refusal = None if known else ConversationNotFoundError
        self.attempt(self.memory.delete(owner, conversation_id), refusal)
        if known is not None:
            known.deleted = True

    @rule(owner=owners, conversation_id=conversations)
    def restore(self, owner: str, conversation_id: str) -> None:
        known = self.model.get((owner, conversation_id))
        deleted = known is not None and known.deleted
        refusal = None if deleted else ConversationNotFoundError
        self.attempt(self.memory.restore(owner, conversation_id), refusal)
        if known is not None:
            known.deleted = False

    @rule(owner=owners, other=owners)
    def sign_in(self, owner: str, other: str) -> None:
        """What one owner has becomes another's, but for what is deleted."""
        moved = [
            name for name, known in self.model.items() if name[0] == other and not known.deleted
        ]
        assert self.run(take_over(self.database, owner, other)) == len(moved)
        for name in moved:
            self.model[owner, name[1]] = self.model.pop(name)

    @rule(owner=owners, query=st.sampled_from(["a", "b", "c", "ab", "a b"]))
    def search(self, owner: str, query: str) -> None:
        found = {
            item.conversation_id for item in self.run(self.memory.search(owner, query, limit=500))
        }
        mine = {n: k for (o, n), k in self.model.items() if o == owner and not k.deleted}
        assert found <= set(mine)
        for name, known in mine.items():
            words = {word for _, text, _ in known.messages for word in text.split()}
            if query in known.title or query in words:
                assert name in found

    @rule(owner=owners)
    def forget(self, owner: str) -> None:
        self.step()
        gone = [name for name in self.model if name[0] == owner]
        assert self.run(self.memory.forget(owner)) == len(gone)
        for name in gone:
            del self.model[name]

    @rule(seconds=st.sampled_from([1, LEASE - 1, LEASE]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.passed += seconds

    @rule(owner=owners, conversation_id=conversations)
    def look(self, owner: str, conversation_id: str) -> None:
        known = self.visible(owner, conversation_id)
        refusal = None if known else ConversationNotFoundError
        window = self.attempt(
            self.memory.window(owner, conversation_id, budget=10**4, before_seq=10**6), refusal
        )
        if known is not None and window is not None:
            shown = [(m.role, m.content) for m in window]
            assert shown == [(r, c) for r, c, _ in known.messages if r == "user" or c]

    @invariant()
    def each_owner_sees_their_own(self) -> None:
        for owner in OWNERS:
            mine = {
                name: known
                for (of, name), known in self.model.items()
                if of == owner and not known.deleted
            }
            listed = self.run(self.memory.conversations(owner, limit=500))
            assert {c.conversation_id: (c.message_count, c.title) for c in listed} == {
                name: (len(known.messages), known.title) for name, known in mine.items()
            }
            sections: tuple[Section, ...] = ("recent", "arranged", "archived")
            for section in sections:
                found = self.run(self.memory.listed(owner, section, limit=500))
                wanted = {name for name, known in mine.items() if known.section == section}
                assert {c.conversation_id for c in found} == wanted
            for name, known in mine.items():
                stored = self.run(self.memory.messages(owner, name, limit=500))
                assert [(m.role, m.content, m.status) for m in stored] == known.messages


def run(url: str) -> None:
    class Placed(Owners):
        pass

    Placed.url = url
    run_state_machine_as_test(
        Placed,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_three_owners_stay_apart_in_memory() -> None:
    run("sqlite:///:memory:")


def test_three_owners_stay_apart_in_a_file(tmp_path: Path) -> None:
    run(f"sqlite:///{tmp_path / 'chat.db'}")


@pytest.mark.timeout(900)  # each example takes many round trips
def test_three_owners_stay_apart_on_a_server(request: pytest.FixtureRequest) -> None:
    run(request.getfixturevalue("postgres_server"))
