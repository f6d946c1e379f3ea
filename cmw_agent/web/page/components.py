"""The page: its Gradio components and the events between them.

There are few of them, because each component costs every new session CPU and memory.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cmw_agent.config.look import Look
from cmw_agent.config.model_profiles import Models
from cmw_agent.language import languages
from cmw_agent.web.gradio_transport import environment as _environment  # noqa: F401  (before gradio)
from cmw_agent.web.gradio_transport.event_server import PageEvent
from cmw_agent.web.page.handlers import Handlers
from cmw_agent.web.page.operator_part import PagePart, check_values, draw_part
from cmw_agent.web.page.page_texts import PageTexts, Texts
from cmw_agent.web.page.rendering import CONTINUE

import gradio as gr  # isort: skip
from gradio.events import api  # isort: skip

EVENTS = frozenset(
    {
        "open_page",
        "reopen_page",
        "switch_page",
        "join",
        "new_chat",
        "new_temporary",
        "send",
        "retry",
        "edit",
        "stop",
        "chat",
        "earlier",
        "rate",
        "redraw",
    }
)

# Run in the browser; visitor.js and outbox.js define `cmw`.
JS_TAKE = "(text, key, files, model) => window.cmw.take(model)"
JS_CONTINUE = f'(text, key, files, model) => window.cmw.say(window.cmw.t("{CONTINUE}"), model)'
JS_BUSY = "() => window.cmw.busy()"
JS_IDLE = "(shown) => window.cmw.idle(shown)"
JS_RECEIPT = "(receipt) => window.cmw.receipt(receipt)"
JS_REFUSED = "() => window.cmw.refused()"
JS_CHOSEN = "() => window.cmw.pane.chosen()"
JS_UNRATED = "() => window.cmw.pane.unrated()"
JS_OPENED = "(id, model, effort) => window.cmw.opened(id, model, effort)"
JS_LEAVE = "() => window.cmw.leave()"
JS_SWITCHED = "(id, model, effort, at) => window.cmw.switched(id, model, effort, at)"
JS_NOT_SWITCHED = "() => window.cmw.notSwitched()"

# Options of events that no API client may call: their values are in Gradio's form already, and
# only the app limits how many run at once.
PRIVATE_EVENT: Mapping[str, Any] = MappingProxyType(
    {
        "show_progress": "hidden",
        "postprocess": False,
        "api_visibility": "private",
        "concurrency_limit": None,
    }
)


@dataclass(slots=True)
class _Components:
    """The components that are inputs or outputs of events."""

    chat: gr.Chatbot
    message_input: gr.Textbox
    key: gr.Textbox
    conversation: gr.Textbox
    files: gr.Textbox
    model: gr.Dropdown
    earlier: gr.Button
    join: gr.Button
    retry: gr.Button
    edit: gr.Button
    rate: gr.Button
    proceed: gr.Button
    redraw: gr.Button
    new: gr.Button
    post: gr.Button
    receipt: gr.Textbox
    reopen: gr.Button
    temporary: gr.Button
    switch: gr.Button
    at: gr.Textbox


def build_page(
    models: Models,
    handlers: Handlers,
    texts: PageTexts,
    look: Look,
    page_part: PagePart | None = None,
) -> gr.Blocks:
    """Return the page, in English; its events are named after the methods of `handlers`.

    Args:
        models: The models to choose from.
        handlers: The handlers of the events.
        texts: The texts of its components.
        look: How the app looks.
        page_part: HTML or components of the operator's, which stand beside the chat; None for none.

    Raises:
        StartupError: The operator's components cannot be used.
    """
    with _without_apps():
        demo = gr.Blocks(title=look.name, fill_height=True, analytics_enabled=False)
        with demo:
            components = _layout(models, texts.of(languages().english), page_part)
            _connect(demo, components, handlers)
    check_values(demo)
    demo.api_open = False  # `queue()` would set it too, but also build an app
    return demo


def _connect(demo: gr.Blocks, components: _Components, handlers: Handlers) -> None:
    """Make the events between a page's components."""
    _on_open(demo, components, handlers)
    _on_join(components, handlers)
    _on_send(components, handlers)
    _on_change(components, handlers)
    # Makes the browser hold a heartbeat open; its end tells the event server of a closed page.
    demo.unload(lambda: None)
    api(handlers.chat, api_name="chat", concurrency_limit=None)


class _NoApp:
    """Stands for Gradio's class of server apps where none is wanted."""

    @staticmethod
    def create_app(*_arguments: object, **_options: object) -> None:
        """Make nothing."""


@contextlib.contextmanager
def _without_apps() -> Iterator[None]:
    """Have Gradio make no server app for the block.

    `Blocks` makes one at its beginning and one at its end, together a quarter of the app's start,
    and mounting the page makes the only one that is used.
    """
    names = vars(gr.blocks)
    made = names["App"]
    names["App"] = _NoApp
    try:
        yield
    finally:
        names["App"] = made


def _layout(models: Models, texts: Texts, page_part: PagePart | None) -> _Components:
    with gr.Column(elem_id="cmw-side"):
        gr.HTML(**texts["cmw-brand"], elem_id="cmw-brand", padding=False)
        new = gr.Button(**texts["cmw-new"], icon=None, variant="primary", elem_id="cmw-new")
        temporary = gr.Button(**texts["cmw-temporary"], icon=None, elem_id="cmw-temporary")
        gr.HTML('<div id="cmw-history"></div>', elem_id="cmw-recent")
    if page_part is not None:
        draw_part(page_part)
    with gr.Column(elem_id="cmw-main", elem_classes=["cmw-beside"] if page_part else []):
        gr.HTML(**texts["cmw-head"], elem_id="cmw-head", padding=False)
        model = gr.Dropdown(
            list(models.by_id),
            value=models.default,
            label="Model",
            visible=False,  # the box has a control of its own
        )
        earlier = gr.Button(**texts["cmw-earlier"], visible="hidden", elem_id="cmw-earlier")
        # Its script presses it where an answer is being written that the page does not show yet.
        join = gr.Button("Show the running answer", visible="hidden", elem_id="cmw-join")
        gr.HTML('<div id="cmw-pane"></div>', elem_id="cmw-chat", padding=False)
        # Never drawn: programs read it, and the pane draws the value that is sent for it.
        chat = gr.Chatbot(label="Conversation", visible=False)
        message_input = gr.Textbox(
            **texts["cmw-input"],
            elem_id="cmw-input",
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            autofocus=True,
            submit_btn=True,
            stop_btn=True,  # the style sheet shows one of the two
        )
        key = gr.Textbox(visible=False)
        conversation = gr.Textbox(visible=False)
        files = gr.Textbox(visible=False)
        at = gr.Textbox(visible=False)
        # Pressed and read by the page's scripts alone.
        retry = gr.Button("Answer again", visible="hidden", elem_id="cmw-retry")
        edit = gr.Button("Edit", visible="hidden", elem_id="cmw-edit")
        rate = gr.Button("Rate", visible="hidden", elem_id="cmw-rate")
        proceed = gr.Button(CONTINUE, visible="hidden", elem_id="cmw-continue")
        redraw = gr.Button("Show the version", visible="hidden", elem_id="cmw-redraw")
        post = gr.Button("Post", visible="hidden", elem_id="cmw-post")
        receipt = gr.Textbox(visible="hidden", elem_id="cmw-receipt")
        reopen = gr.Button("Reopen", visible="hidden", elem_id="cmw-reopen")
        switch = gr.Button("Switch", visible="hidden", elem_id="cmw-switch")
        # Its script moves the tools into the text box.
        gr.HTML(**texts["cmw-foot"], elem_id="cmw-foot")
    return _Components(
        chat=chat,
        message_input=message_input,
        key=key,
        conversation=conversation,
        files=files,
        model=model,
        earlier=earlier,
        join=join,
        retry=retry,
        edit=edit,
        rate=rate,
        proceed=proceed,
        redraw=redraw,
        new=new,
        post=post,
        receipt=receipt,
        reopen=reopen,
        temporary=temporary,
        switch=switch,
        at=at,
    )


def _on_open(demo: gr.Blocks, components: _Components, handlers: Handlers) -> None:
    opened = [components.chat, components.conversation]
    # The effort is no component's value: its script takes it from a text that others use later.
    shown = [components.conversation, components.model, components.key]
    demo.load(handlers.open_page, None, [components.chat, *shown], **PRIVATE_EVENT).then(
        None, shown, None, js=JS_OPENED, api_visibility="private"
    )
    components.reopen.click(handlers.reopen_page, None, opened, **PRIVATE_EVENT).then(
        None, [components.conversation], None, js=JS_OPENED, api_visibility="private"
    )
    switched = [*shown, components.at]
    switch = components.switch.click(
        handlers.switch_page,
        None,
        [components.chat, *switched],
        trigger_mode="multiple",  # back and forward may be pressed faster than it answers
        **PRIVATE_EVENT,
    )
    switch.then(None, switched, None, js=JS_SWITCHED, api_visibility="private")
    switch.failure(None, None, None, js=JS_NOT_SWITCHED, api_visibility="private")
    components.new.click(handlers.new_chat, None, opened, **PRIVATE_EVENT).then(
        None, None, None, js=JS_LEAVE, api_visibility="private"
    )
    # Its script marks the page as temporary at the click, before the server has answered.
    components.temporary.click(handlers.new_temporary, None, opened, **PRIVATE_EVENT)


def _on_join(components: _Components, handlers: Handlers) -> None:
    trigger = components.join.click
    _before(trigger)
    event = trigger(
        handlers.join, None, [components.chat, components.conversation], **PRIVATE_EVENT
    )
    _after(event, components)
    event.failure(None, [components.conversation], None, js=JS_IDLE, api_visibility="private")


def _on_send(components: _Components, handlers: Handlers) -> None:
    posted, pressed = components.post.click, components.proceed.click
    for trigger, take in ((posted, JS_TAKE), (pressed, JS_CONTINUE)):
        _before(trigger)
        send = trigger(
            handlers.send,
            [components.message_input, components.key, components.files, components.model],
            [components.chat, components.conversation, components.receipt],
            js=take,
            api_name="send",
            api_visibility="public" if trigger is posted else "private",
            show_progress="hidden",
            postprocess=False,
            concurrency_limit=None,
            trigger_mode="multiple",  # the script sends one after the other
        )
        _after(send, components)
        send.failure(None, None, None, js=JS_REFUSED, api_visibility="private")
    components.receipt.change(
        None, [components.receipt], None, js=JS_RECEIPT, api_visibility="private"
    )


def _on_change(components: _Components, handlers: Handlers) -> None:
    chosen = [components.key, components.files]
    rated = components.rate.click(handlers.rate, chosen, None, js=JS_CHOSEN, **PRIVATE_EVENT)
    rated.failure(None, None, None, js=JS_UNRATED, api_visibility="private")
    shown = [components.chat, components.conversation]
    for button, handler in (
        (components.earlier, handlers.earlier),
        (components.redraw, handlers.redraw),
    ):
        button.click(handler, None, shown, **PRIVATE_EVENT).then(
            None, [components.conversation], None, js=JS_OPENED, api_visibility="private"
        )
    components.message_input.stop(handlers.stop, None, None, **PRIVATE_EVENT)
    for button, answer, inputs in (
        (components.retry, handlers.retry, chosen[:1]),
        (components.edit, handlers.edit, chosen),
    ):
        _before(button.click)
        event = button.click(answer, inputs, shown, js=JS_CHOSEN, **PRIVATE_EVENT)
        _after(event, components)
        event.failure(None, [components.conversation], None, js=JS_IDLE, api_visibility="private")


def _before(trigger: Callable[..., gr.events.Dependency]) -> None:
    """Show the stop button, before the event's other listeners."""
    trigger(None, None, None, js=JS_BUSY, api_visibility="private", trigger_mode="multiple")


def _after(event: gr.events.Dependency, components: _Components) -> None:
    """Hide the stop button once the event has succeeded."""
    event.then(None, [components.conversation], None, js=JS_IDLE, api_visibility="private")


def page_events(demo: gr.Blocks, handlers: Handlers) -> dict[int, PageEvent]:
    """Return the page's events by Gradio's function index, for the event server."""
    turns = ("send", "retry", "edit", "chat")
    return {
        index: PageEvent(
            name=block.name,
            handler=getattr(handlers, block.name),
            inputs=len(block.inputs),
            outputs=len(block.outputs),
            starts_turn=block.name in turns,
        )
        for index, block in demo.fns.items()
        if block.fn is not None and block.name in EVENTS
    }
