"""The operator's components beside the chat: no event of theirs calls a function."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cmw_agent.core.errors import StartupError
from cmw_agent.server.build import build_app
from cmw_agent.web.page.operator_part import BUNDLED, unbundled
from tests.harness import settings_for

import gradio as gr  # isort: skip

ROOT = Path(__file__).parents[2]


def test_the_bundled_kinds_are_those_of_the_build() -> None:
    text = (ROOT / "frontend/gradio.mjs").read_text()
    found = re.search(r"^const COMPONENTS = (\[.*\]);$", text, re.MULTILINE)
    assert found is not None
    assert set(json.loads(found[1])) == BUNDLED


def with_columns() -> None:
    with gr.Column():
        gr.Textbox("one")
        gr.HTML("<b>two</b>")


def with_more() -> None:
    with gr.Row(), gr.Column():
        gr.Markdown("one")
        gr.Button("two").click(None, None, None, js="() => {}")


@pytest.mark.parametrize(
    ("part", "kinds"),
    [(None, []), ("<b>x</b>", []), (with_columns, []), (with_more, ["markdown", "row"])],
)
async def test_a_page_with_other_kinds_takes_gradio_s_own_files(
    tmp_path: Path, part: Callable[[], None] | str | None, kinds: list[str]
) -> None:
    app = build_app(settings_for(tmp_path), page_part=part)
    assert unbundled(app.demo) == kinds


def calling() -> None:
    """Make a component whose event calls a function."""
    gr.Button("Leak").click(lambda: "everybody's", None, gr.Textbox())


def loading() -> None:
    """Make a component whose value a function gives at each visit."""
    gr.Textbox(value=lambda: "everybody's")


def failing() -> None:
    raise RuntimeError("no such file")


@pytest.mark.parametrize(
    ("part", "sentence"),
    [(calling, "may have no events"), (loading, "may have no events"), (failing, "no such file")],
)
async def test_a_part_that_cannot_be_used_ends_the_start(
    tmp_path: Path, part: Callable[[], None], sentence: str
) -> None:
    with pytest.raises(StartupError, match=sentence):
        build_app(settings_for(tmp_path), page_part=part)
