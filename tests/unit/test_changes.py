"""What the open pages of an owner are told of the owner's conversations."""

from cmw_agent.conversations.change_feed import _packed, _unpacked
from cmw_agent.conversations.changes import MAX_UNREAD, Change, ConversationChanges
from cmw_agent.web.gradio_transport.heartbeats import alive


def test_changes_reach_the_pages_of_their_owner_alone() -> None:
    changes = ConversationChanges()
    with changes.reading("alice") as one, changes.reading("alice") as two:
        with changes.reading("bob") as other:
            changes.publish("alice", Change("began", "c1"))
            changes.publish("carol", Change("began", "c2"))
            assert one.take() == two.take() == [Change("began", "c1")]
            assert other.take() == []
            assert not other.arrived.is_set()
        assert len(changes) == 2
    assert len(changes) == 0


def test_the_same_change_waits_once_and_keeps_its_last_place() -> None:
    changes = ConversationChanges()
    with changes.reading("alice") as reader:
        for kind in ("began", "ended", "began"):
            changes.publish("alice", Change(kind, "c1"))
        assert reader.take() == [Change("ended", "c1"), Change("began", "c1")]
        assert reader.take() == []


def test_a_page_that_takes_none_is_told_to_ask_for_everything() -> None:
    changes = ConversationChanges()
    with changes.reading("alice") as reader:
        for number in range(MAX_UNREAD + 1):
            changes.publish("alice", Change("listed", f"c{number}"))
        assert reader.take() == [Change("missed")]


def test_a_page_knows_what_it_has_done_itself() -> None:
    body = alive([Change("began", "c1", "tab-1"), Change("ended", "c1")], "tab-1")
    assert body.startswith(b"event: changes\ndata: ")
    assert b'"conversation":"c1","own":true' in body
    assert b'"conversation":"c1","own":false' in body
    assert b'"own":true' not in alive([Change("began", "c1", "tab-1")], "tab-2")
    assert b'"own":true' not in alive([Change("began", "c1")], None)


def test_what_another_version_sends_is_passed_over() -> None:
    change = Change("began", "c1", "tab-1")
    assert _unpacked(_packed("alice", change)) == ("alice", change)
    for text in ("", "{", "[]", "{}", "7", "[1, 2, 3, 4]", '["alice", "unheard-of", "c1", null]'):
        assert _unpacked(text) is None
