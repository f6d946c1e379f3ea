"""Our messages and edits against the installed Gradio's own: an upgrade names what it broke."""

import ast
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from gradio.server_messages import EventMessage
from gradio.utils import diff as untyped_diff
from gradio_client.utils import (  # type: ignore[import-untyped]
    ServerMessage,
    apply_diff,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cmw_agent.core.errors import UserError
from cmw_agent.language import languages
from cmw_agent.web import gradio_transport
from cmw_agent.web.gradio_transport import protocol
from cmw_agent.web.gradio_transport.protocol import UNCHANGED, Notice, edits
from cmw_agent.web.page.drawn_message import DrawnMessage, message

EVENT = "e" * 32
VALUE: list[Any] = [{"role": "user", "metadata": None, "content": [], "options": None}, UNCHANGED]
# Every function of `protocol` that builds a message, with the messages that it can build.
SAMPLES: Mapping[Callable[..., bytes], list[bytes]] = MappingProxyType(
    {
        protocol.starting: [protocol.starting(EVENT)],
        protocol.generating: [
            protocol.generating(EVENT, VALUE),
            protocol.generating(EVENT, [edits("a", "ab"), []]),
        ],
        protocol.completed: [
            protocol.completed(EVENT, {"data": VALUE}),
            protocol.completed(EVENT, {}),
        ],
        protocol.failed: [protocol.failed(EVENT, UserError("No."), languages().english)],
        protocol.toast: [
            protocol.toast(EVENT, Notice("Done.", "Connections", "info")),
            protocol.toast(EVENT, Notice("Not done.", "Connections")),
        ],
        protocol.heartbeat: [protocol.heartbeat()],
        protocol.closing: [protocol.closing()],
    }
)
diff: Callable[[Any, Any], list[list[Any]]] = untyped_diff
ADAPTER: TypeAdapter[Any] = TypeAdapter(EventMessage)
TEXT = st.text(max_size=6)
METADATA = st.none() | st.fixed_dictionaries(
    {"title": st.sampled_from(["a step", "another"])}, optional={"status": st.just("done")}
)
MESSAGES = st.lists(
    st.builds(
        message,
        st.sampled_from(["user", "assistant"]),
        TEXT,
        METADATA,
        options=st.sampled_from([(), ("Continue",)]),
    ),
    max_size=5,
)


def builders() -> set[Callable[..., bytes]]:
    """Return the functions that build a message; `encoded` builds what it is given."""
    own = inspect.getmembers(protocol, inspect.isfunction)
    return {
        function
        for name, function in own
        if function.__module__ == protocol.__name__
        and inspect.signature(function).return_annotation is bytes
        and name != "encoded"
    }


def test_every_kind_of_message_has_a_sample() -> None:
    assert set(SAMPLES) == builders()


def test_no_other_module_builds_a_message() -> None:
    for path in Path(inspect.getfile(gradio_transport)).parent.glob("*.py"):
        if path.name == "protocol.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Constant) and node.value == "msg"), path.name
            assert not (isinstance(node, ast.Name) and node.id == "encoded"), path.name


@pytest.mark.parametrize("event", [event for samples in SAMPLES.values() for event in samples])
def test_a_message_is_one_of_gradios_own(event: bytes) -> None:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    sent = orjson.loads(event[len("data: ") :])
    read = ADAPTER.validate_python(sent)
    # Its class is that of its kind, and each of its fields is one that Gradio knows.
    assert read.msg == ServerMessage(sent["msg"])
    assert read.model_dump(mode="json", exclude_unset=True) == sent


@pytest.mark.parametrize(
    "message",
    [
        {"msg": "process_starts", "event_id": EVENT, "eta": "soon"},
        {"msg": "process_started", "event_id": EVENT},
        {"msg": "log", "event_id": EVENT, "log": "Done.", "level": "notice", "title": ""},
    ],
)
def test_what_gradio_does_not_know_is_noticed(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ADAPTER.validate_python(message)


@given(MESSAGES, MESSAGES)
def test_gradios_client_makes_of_our_edits_what_it_makes_of_gradios(
    old: list[DrawnMessage], new: list[DrawnMessage]
) -> None:
    ours, theirs = edits(old, new), diff(old, new)
    assert apply_diff(old, ours) == apply_diff(old, theirs) == new
    assert bool(ours) == bool(theirs)


@given(TEXT, TEXT)
def test_edits_of_a_text_are_gradios(old: str, new: str) -> None:
    assert edits(old, new) == diff(old, new)


@given(MESSAGES, st.text(min_size=1, max_size=6), MESSAGES)
def test_edits_of_an_answer_that_grows_are_gradios(
    above: list[DrawnMessage], more: str, below: list[DrawnMessage]
) -> None:
    old = [*above, message("assistant", "Hello")]
    new = [*above, message("assistant", f"Hello{more}"), *below]
    assert edits(old, new) == diff(old, new)


def test_an_output_that_stays_is_gradios_update() -> None:
    import gradio as gr

    assert dict(UNCHANGED) == gr.skip()
