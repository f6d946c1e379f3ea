"""Random steps on trees, shares and imports together: all equal a model of plain dictionaries."""

import dataclasses
import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from memory.conversations.imports import ImportedHead, ImportPart, MessageToImport
from memory.conversations.share_store import ShareStore
from memory.errors import (
    ConversationBusyError,
    ConversationNotFoundError,
    ShareNotFoundError,
    StoreError,
    UnknownFileError,
)
from memory.maintenance.retention import DELETED_KEPT, Retention
from memory.records import ConversationOrigin, Role
from memory.share_records import NewShare, SharedCopy
from tests.contract.conftest import ALICE, BOB
from tests.contract.tree_machine import (
    OWNERS,
    TIMES,
    Message,
    Tree,
    Trees,
    check,
    conversations,
    picks,
    texts,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 * TIMES)]  # many round trips
owners = st.sampled_from(OWNERS)
mostly = st.sampled_from([True, True, True, False])
STEPS = 80  # of one example
MOST = 6  # conversations, shares and imports that are open
imported = st.lists(
    st.builds(
        Message,
        st.just(0),
        st.sampled_from(["user", "assistant"]),
        texts,
        st.none() | st.sampled_from(["x", "y"]),
    ),
    min_size=1,
    max_size=3,
)


@dataclasses.dataclass
class Shared:
    """What the model knows of a share: the path at the moment when it was made."""

    owner: str
    conversation: str
    title: str
    messages: list[Message]
    names: list[int]
    ends: datetime | None
    copies: dict[str, str] | None  # ids of the copies of bytes; None without files

    def files(self) -> list[tuple[int, int, str]]:
        """Return number, seq and name of each file of the snapshot."""
        names = [(seq, m.file) for seq, m in enumerate(self.messages, start=1) if m.file]
        shown = names if self.copies is not None else []
        return [(number, seq, name) for number, (seq, name) in enumerate(shown, start=1)]


@dataclasses.dataclass
class Unfinished:
    """What the model knows of an import whose last part is not stored."""

    owner: str
    messages: list[Message]
    hidden_at: datetime


class SharesAndImports(Trees):
    """Random steps of two owners, and of whoever has the links of their shares."""

    most = MOST + 3  # with forks

    def __init__(self) -> None:
        super().__init__()
        self.links = ShareStore(self.database, clock=self.clock)
        self.deleted: dict[str, tuple[Tree, datetime]] = {}
        self.shares: dict[str, Shared] = {}
        self.gone = ["guessed"]  # ids of shares that are revoked or deleted
        self.imports: dict[str, Unfinished] = {}
        self.ids = (f"n{number}" for number in itertools.count())
        self.turn: int | None = 0

    def check_at_the_end(self) -> None:
        super().check_at_the_end()
        self.turn = None
        self.the_store_is_the_tree()
        self.a_link_shows_the_moment_when_it_was_made_or_nothing()
        self.an_import_is_whole_or_not_there()

    def looked_at(self, names: Iterable[str]) -> list[str]:
        """Return one of these after each step, by turns, and all of them at the end."""
        every = list(names)
        if self.turn is None or not every:
            return every
        return [every[self.turn % len(every)]]

    @initialize()
    def begin(self) -> None:
        """Begin with a conversation, summarised and shared twice, an import, and the half of one."""
        super().begin()
        self.send(0, "b", "a", is_known=False, with_file=True)
        self.summarise(0, 4, is_late=False)
        self.share(0, is_own=True, lasts=None, with_files=True)
        self.share(0, is_own=True, lasts=60, with_files=False)
        words: list[tuple[Role, str]] = [("assistant", "a"), ("user", "b"), ("user", "é")]
        part = [Message(0, role, text, "x") for role, text in words]
        self.first_part(BOB, part, is_last=True)
        self.first_part(ALICE, part, is_last=False)

    def is_open(self, share: Shared) -> bool:
        is_shown = share.conversation in self.trees
        return is_shown and (share.ends is None or share.ends > self.clock())

    def closed(self) -> list[str]:
        """Return ids that show nothing, whatever the reason is."""
        ended = [name for name, share in self.shares.items() if not self.is_open(share)]
        return [*self.gone, *ended]

    def owner_of(self, name: str) -> str:
        if name in self.imports:
            return self.imports[name].owner
        return (self.trees.get(name) or self.deleted[name][0]).owner

    def other(self, name: str) -> str:
        return ALICE if self.owner_of(name) == BOB else BOB

    def picked(self, names: Iterable[str], number: int) -> str:
        every = list(names)
        return every[number % len(every)]

    # -- conversations --------------------------------------------------------------

    @rule(number=conversations, title=st.sampled_from(["a", "b"]))
    def rename(self, number: int, title: str) -> None:
        name, tree = self.chosen(number)
        self.run(self.memory.rename(tree.owner, name, title))
        tree.title, tree.is_named = title, True

    @precondition(lambda self: len(self.trees) > 1)
    @rule(number=conversations)
    def delete(self, number: int) -> None:
        name, tree = self.chosen(number)
        self.attempt(self.memory.delete(self.other(name), name), ConversationNotFoundError)
        self.run(self.memory.delete(tree.owner, name))
        self.deleted[name] = self.trees.pop(name), self.clock()

    @precondition(lambda self: self.deleted)
    @rule(number=conversations)
    def restore(self, number: int) -> None:
        name = self.picked(self.deleted, number)
        self.attempt(self.memory.restore(self.other(name), name), ConversationNotFoundError)
        tree, _ = self.deleted.pop(name)
        self.run(self.memory.restore(tree.owner, name))
        self.trees[name] = tree

    @rule(seconds=st.sampled_from([60, 1, DELETED_KEPT]), cleans=st.booleans())
    def wait(self, seconds: float, cleans: bool) -> None:
        self.clock.advance(seconds)
        if cleans:
            self.clean_up()

    def clean_up(self) -> None:
        self.run(Retention(self.database, clock=self.clock).clean(days=0, idle_seconds=1e9))
        before = self.clock() - timedelta(seconds=DELETED_KEPT)
        for name, (tree, at) in list(self.deleted.items()):
            if at <= before and tree.running is None:
                del self.deleted[name]
                self.end_shares([i for i, s in self.shares.items() if s.conversation == name])
        for name in [name for name, each in self.imports.items() if each.hidden_at <= before]:
            del self.imports[name]
        now = self.clock()
        self.end_shares([i for i, s in self.shares.items() if s.ends is not None and s.ends <= now])

    def end_shares(self, ids: list[str]) -> None:
        for share_id in ids:
            del self.shares[share_id]
            self.gone.append(share_id)

    # -- shares ---------------------------------------------------------------------

    @precondition(lambda self: len(self.shares) < MOST)
    @rule(
        number=st.integers(0, 20),
        is_own=mostly,
        lasts=st.none() | st.sampled_from([60, DELETED_KEPT + 1]),
        with_files=st.booleans(),
    )
    def share(self, number: int, is_own: bool, lasts: float | None, with_files: bool) -> None:
        name = self.picked([*self.trees, *self.deleted, *self.imports], number)
        tree, share_id = self.trees.get(name), next(self.ids)
        owner = self.owner_of(name) if is_own else self.other(name)
        ends = None if lasts is None else self.clock() + timedelta(seconds=lasts)
        copies = None
        if with_files:
            files = self.run(self.memory.files_of(owner, name))
            copies = {file.file_id: next(self.keys) for file in files}
        new = NewShare(name, share_id, f"reader-{share_id}", ends, copies)
        refusal: type[StoreError] | None = None
        if tree is None or tree.owner != owner:
            refusal = ConversationNotFoundError
        elif tree.running is not None:
            refusal = ConversationBusyError
        made = self.attempt(self.links.create_share(owner, new), refusal)
        if made is None or tree is None:
            return
        path = tree.path()
        assert made.message_count == len(path)
        self.shares[share_id] = Shared(
            owner,
            name,
            tree.title,
            [tree.messages[seq] for seq in path],
            [tree.names[seq] for seq in path],
            ends,
            copies,
        )

    @precondition(lambda self: self.shares)
    @rule(owner=owners, number=conversations)
    def revoke(self, owner: str, number: int) -> None:
        share_id = self.picked(self.shares, number)
        share = self.shares[share_id]
        refusal = None if owner == share.owner else ShareNotFoundError
        self.attempt(self.links.revoke_share(f"reader-{share_id}", share_id), ShareNotFoundError)
        copies = self.attempt(self.links.revoke_share(owner, share_id), refusal)
        if copies is not None:
            assert sorted(copies) == sorted((share.copies or {}).values())
            self.end_shares([share_id])

    @rule(owner=owners, number=st.integers(0, 20), is_right=mostly)
    def continue_chat(self, owner: str, number: int, is_right: bool) -> None:
        if len(self.trees) > self.most:
            return
        share_id, name = self.picked([*self.shares, *self.gone], number), next(self.ids)
        share, reader = self.shares.get(share_id), f"reader-{share_id}"
        if share is None or not self.is_open(share):
            new = SharedCopy(name, "main", {})
            self.attempt(self.links.copy_snapshot(owner, reader, new), ShareNotFoundError)
            return
        refusal: type[StoreError] | None = None
        file_ids = {number: self.uploaded(owner, file) for number, _, file in share.files()}
        if file_ids and not is_right:  # as if another's files were named
            number, _, file = share.files()[0]
            file_ids[number] = self.uploaded(ALICE if owner == BOB else BOB, file)
            refusal = UnknownFileError
        copy = self.links.copy_snapshot(owner, reader, SharedCopy(name, "main", file_ids))
        self.attempt(copy, refusal)
        if refusal is None:
            tree = self.trees[name] = Tree(owner, share.title)
            tree.names = dict(enumerate(share.names, start=1))
            has_files = share.copies is not None
            tree.extend(
                m if has_files else dataclasses.replace(m, file=None) for m in share.messages
            )

    # -- imports --------------------------------------------------------------------

    @rule(owner=owners, messages=imported, is_last=st.booleans())
    def first_part(self, owner: str, messages: list[Message], is_last: bool) -> None:
        if len(self.trees) + len(self.imports) < MOST:
            self.import_part(owner, next(self.ids), 0, messages, None, is_last=is_last)

    @precondition(lambda self: self.imports)
    @rule(
        number=conversations,
        is_own=mostly,
        slip=st.sampled_from([0, 0, 0, 1, -1]),
        messages=imported,
        is_last=st.booleans(),
    )
    def further_part(
        self, number: int, is_own: bool, slip: int, messages: list[Message], is_last: bool
    ) -> None:
        """Go on with an import, now and then as another one, or with a part that does not follow."""
        name = self.picked(self.imports, number)
        seq = len(self.imports[name].messages) + slip
        refusal = None if is_own and not slip else ConversationNotFoundError
        owner = self.owner_of(name) if is_own else self.other(name)
        self.import_part(owner, name, seq, messages, refusal, is_last=is_last)

    @rule(owner=owners, number=conversations, is_at_end=st.booleans(), messages=imported)
    def part_in_another_place(
        self, owner: str, number: int, is_at_end: bool, messages: list[Message]
    ) -> None:
        """Import a part into a conversation that is whole."""
        name, tree = self.chosen(number)
        after = len(tree.messages) if is_at_end else 0
        self.import_part(owner, name, after, messages, ConversationNotFoundError, is_last=True)

    def import_part(
        self,
        owner: str,
        name: str,
        after: int,
        messages: list[Message],
        refusal: type[StoreError] | None,
        *,
        is_last: bool,
    ) -> None:
        now = self.clock()
        head = ImportedHead(name, "a", now, now, "inactive", ConversationOrigin())
        part = [
            MessageToImport(
                m.role, m.content, now, file_ids=[self.uploaded(owner, m.file)] if m.file else []
            )
            for m in messages
        ]
        storing = self.memory.import_part(owner, ImportPart(head, after, part, is_last))
        if self.attempt(storing, refusal) is None:
            return
        known = self.imports.setdefault(name, Unfinished(owner, [], now))
        known.messages += messages
        known.hidden_at = now
        if is_last:
            self.trees[name] = Tree(owner, "a")
            self.trees[name].extend(self.imports.pop(name).messages)

    # -- what holds -----------------------------------------------------------------

    @invariant()
    def each_owner_has_their_own(self) -> None:
        self.turn = (self.turn or 0) + 1
        for owner in OWNERS:
            listed = self.run(self.memory.conversations(owner, limit=500))
            assert {each.conversation_id for each in listed} == {
                name for name, tree in self.trees.items() if tree.owner == owner
            }
            assert {share.share_id for share in self.run(self.links.shares(owner))} == {
                share_id
                for share_id, share in self.shares.items()
                if share.owner == owner and self.is_open(share)
            }

    @invariant()
    def a_link_shows_the_moment_when_it_was_made_or_nothing(self) -> None:
        opened = [share_id for share_id, share in self.shares.items() if self.is_open(share)]
        for share_id in self.looked_at(opened):
            share = self.shares[share_id]
            page = self.links.snapshot_page(f"reader-{share_id}", from_seq=1, limit=500)
            snapshot, messages, files = self.run(page)
            assert [(m.seq, m.role, m.content) for m in messages] == [
                (seq, m.role, m.content) for seq, m in enumerate(share.messages, start=1)
            ]
            assert (snapshot.title, snapshot.message_count) == (share.title, len(share.messages))
            assert [(f.number, f.file.seq, f.file.name) for f in files] == share.files()
            assert [f.file.file_id for f in files] == [*(share.copies or {}).values()]
        for share_id in self.looked_at(self.closed()):
            self.attempt(self.links.snapshot(f"reader-{share_id}"), ShareNotFoundError)

    @rule(owner=owners, number=st.integers(0, 20))
    def nothing_is_read_of_what_is_closed(self, owner: str, number: int) -> None:
        errors = set()
        for share_id in ("guessed", self.picked(self.closed(), number)):
            reader = f"reader-{share_id}"
            for call in (
                self.links.snapshot(reader),
                self.links.snapshot_page(reader, from_seq=1, limit=9),
                self.links.snapshot_file(reader, 1),
                self.links.snapshot_files(reader),
                self.links.copy_snapshot(owner, reader, SharedCopy(next(self.ids), "main", {})),
            ):
                with pytest.raises(StoreError) as refused:
                    self.run(call)
                errors.add((refused.type, str(refused.value)))
        assert errors == {(ShareNotFoundError, str(ShareNotFoundError()))}

    @precondition(lambda self: self.shares)
    @rule(number=conversations, pick=picks)
    def a_link_s_principal_reaches_nothing_else(self, number: int, pick: int) -> None:
        share_id = self.picked(self.shares, number)
        share, reader = self.shares[share_id], f"reader-{share_id}"
        assert self.run(self.memory.conversations(reader)) == []
        assert self.run(self.memory.search(reader, "a")) == []
        assert self.run(self.memory.all_files(reader)) == []
        assert self.run(self.links.shares(reader)) == []
        assert self.run(self.memory.files_of(reader, share.conversation)) == []
        for name in (*self.trees, *self.deleted, *self.imports):
            for call in (
                self.memory.messages(reader, name, all_versions=True),
                self.memory.select_version(reader, name, pick % 9 + 1),
                self.memory.fork(reader, name, pick % 9 + 1, context={}, copies={}),
                self.links.create_share(reader, NewShare(name, next(self.ids), "r", None)),
            ):
                self.attempt(call, ConversationNotFoundError)
        for other in (share.owner, share.conversation, share_id):
            self.attempt(self.links.snapshot(other), ShareNotFoundError)
        self.attempt(self.links.snapshot_file(reader, len(share.files()) + 1), ShareNotFoundError)

    @rule(owner=owners, query=st.sampled_from(["a", "b", "é"]))
    def search(self, owner: str, query: str) -> None:
        hits = self.run(self.memory.search(owner, query, limit=500))
        mine = {name: tree for name, tree in self.trees.items() if tree.owner == owner}
        for hit in hits:
            tree = mine[hit.conversation_id]
            assert hit.seq is None or hit.seq in tree.path()
        words = {
            name: {word for seq in tree.path() for word in tree.messages[seq].content.split()}
            for name, tree in mine.items()
        }
        assert {hit.conversation_id for hit in hits} >= {
            name for name, written in words.items() if query in written
        }

    @invariant()
    def an_import_is_whole_or_not_there(self) -> None:
        for name in self.looked_at(self.imports):
            for owner in OWNERS:
                self.attempt(self.memory.messages(owner, name), ConversationNotFoundError)
                assert self.run(self.memory.files_of(owner, name)) == []


def test_trees_shares_and_imports_in_a_file_are_the_model_s(tmp_path: Path) -> None:
    check(SharesAndImports, f"sqlite:///{tmp_path / 'chat.db'}", 25 * TIMES, STEPS)


def test_trees_shares_and_imports_on_a_server_are_the_model_s(postgres_server: str) -> None:
    check(SharesAndImports, postgres_server, 8 * TIMES, STEPS)
