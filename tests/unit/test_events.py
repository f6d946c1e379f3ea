"""The event server's edits and mailboxes."""

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cmw_agent.identity import Principal
from cmw_agent.web import view
from cmw_agent.web.events import UNREAD_MESSAGES, Mailbox, edits
from tests.harness import UNCHANGED, Browser, _patched, served, settings_for

MESSAGES = st.lists(
    st.builds(view.message, st.sampled_from(["user", "assistant"]), st.text(max_size=6)),
    max_size=5,
)


@given(MESSAGES, MESSAGES)
def test_edits_turn_the_old_value_into_the_new_one(
    old: list[view.Drawn], new: list[view.Drawn]
) -> None:
    assert _patched(old, edits(old, new)) == new


@given(st.text(), st.text())
def test_edits_of_text_do_the_same(old: str, new: str) -> None:
    assert _patched(old, edits(old, new)) == new


@given(MESSAGES, st.text(min_size=1), st.text(min_size=1))
def test_text_that_grows_is_sent_as_what_it_grew_by(
    above: list[view.Drawn], start: str, more: str
) -> None:
    old = [*above, view.message("assistant", start)]
    new = [*above, view.message("assistant", start + more)]
    assert edits(old, new) == [["append", [len(above), "content", 0, "text"], more]]


async def test_a_writer_waits_for_a_slow_reader_and_loses_nothing() -> None:
    box = Mailbox(Principal("v1", "visitor"))
    written: list[int] = []

    async def write() -> None:
        for number in range(UNREAD_MESSAGES * 2):
            await box.put(b"%d " % number)
            written.append(number)

    writer = asyncio.create_task(write())
    async with asyncio.timeout(5):
        await box.arrived.wait()
        while len(written) < UNREAD_MESSAGES:  # noqa: ASYNC110 (until the writer waits)
            await asyncio.sleep(0)
        assert len(box.messages) == UNREAD_MESSAGES
        taken = box.take()
        await writer
    taken += box.take()
    assert taken.split() == [b"%d" % n for n in range(UNREAD_MESSAGES * 2)]


async def test_a_page_is_not_sent_again_what_it_has_put_together(tmp_path: Path) -> None:
    async with served(settings_for(tmp_path)) as app, Browser(app.url) as person:
        tab = person.tab()
        await tab.open()
        put_together = await tab.send("My name is Ada")
        ending = put_together.raw[-1]["output"]["data"]
        assert ending == [UNCHANGED] * len(ending)
        (answer,) = put_together.value[-1]["content"]
        assert answer["text"].startswith("Hello, Ada!")
        # A program takes its result from the end.
        whole = await tab.run("send", ["What is my name?", "", "", None], trigger_id=None)
        (answer,) = whole.raw[-1]["output"]["data"][0][-1]["content"]
        assert answer["text"] == "Your name is Ada!"
