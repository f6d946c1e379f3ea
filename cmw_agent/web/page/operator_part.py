"""The operator's own part of the page, beside the chat: HTML, or components of Gradio."""

from collections.abc import Callable, Iterator
from typing import Final

from cmw_agent.core.errors import StartupError
from cmw_agent.web.gradio_transport import environment as _environment  # noqa: F401  (before gradio)

import gradio as gr  # isort: skip
from gradio.blocks import Block, BlockContext  # isort: skip

PagePart = str | Callable[[], object]
PART: Final = "cmw-part"
# The kinds of components in the page's one file of Gradio's scripts; see frontend/gradio.mjs.
BUNDLED: Final = frozenset({"button", "column", "form", "html", "state", "textbox"})
NOT_BUILT: Final = "page_part: its components cannot be built ({cause})"
NO_EVENTS: Final = (
    "page_part: its components may have no events that call a function; events with fn=None and js "
    "alone may stay"
)


def draw_part(part: PagePart) -> None:
    """Draw the part, within the page that is being built.

    Args:
        part: HTML, or a function that makes components.

    Raises:
        StartupError: The function fails, or its components call functions: they would be asked for
            every user, and only the app's own events know whose they are.
    """
    if isinstance(part, str):
        gr.HTML(f"<aside>{part}</aside>", elem_id=PART, padding=False)
        return
    page = gr.context.Context.root_block
    before = set(page.fns) if page is not None else set()
    with gr.Column(elem_id=PART):
        try:
            part()
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise StartupError(NOT_BUILT.format(cause=cause)) from error
    events = page.fns if page is not None else {}
    if any(events[index].fn is not None for index in events.keys() - before):
        raise StartupError(NO_EVENTS)


def check_values(page: gr.Blocks) -> None:
    """Check that no component of the part gets its value from a function: Gradio asks it at each visit.

    Raises:
        StartupError: One does.
    """
    own = set(map(id, _blocks(page)))
    called = (event for event in page.fns.values() if event.fn is not None)
    if any(id(block) in own for event in called for block in event.outputs):
        raise StartupError(NO_EVENTS)


def unbundled(page: gr.Blocks) -> list[str]:
    """Return the kinds of components in the part that the page's one file of scripts has not.

    A page with such loads Gradio's own files instead, in more requests.
    """
    return sorted({block.get_block_name() for block in _blocks(page)} - BUNDLED)


def _blocks(page: gr.Blocks) -> Iterator[Block]:
    """Yield the part's components and those within them."""
    for block in page.blocks.values():
        if block.elem_id == PART:
            yield from _within(block)


def _within(block: Block) -> Iterator[Block]:
    yield block
    for child in block.children if isinstance(block, BlockContext) else ():
        yield from _within(child)
