"""The page: a few Gradio components and the events between them.

Few on purpose: each component costs every new session CPU and memory.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cmw_agent.config.agent_profiles import Profile
from cmw_agent.config.settings import Settings
from cmw_agent.web.gradio_transport import environment as _environment  # noqa: F401  (before gradio)
from cmw_agent.web.gradio_transport.event_server import PageEvent
from cmw_agent.web.page.handlers import Handlers

import gradio as gr  # isort: skip
from gradio.events import api  # isort: skip

TITLE = "CMW Agent"
EXAMPLES = (
    "My name is Alice",
    "What time is it in Tokyo?",
    "What is 17.5 * (3 + 4)?",
    "What can you do?",
)
EVENTS = frozenset(
    {"open_page", "new_chat", "send", "retry", "edit", "stop", "chat", "earlier", "rate"}
)

# In the browser alone. `cmw` is defined by visitor.js.
JS_TAKE = "(text, key, files, model) => window.cmw.take(model)"
JS_BUSY = "(text, id) => window.cmw.busy(text, id)"
JS_AGAIN = "() => window.cmw.again()"
JS_IDLE = "(shown) => window.cmw.idle(shown)"
JS_OPENED = "(id) => window.cmw.opened(id)"
JS_LEAVE = "() => window.cmw.leave()"
JS_RESTORE = "() => window.cmw.restore()"

# Events of the page alone: values in Gradio's own form, no limit but the app's own.
QUIET: Mapping[str, Any] = MappingProxyType(
    {
        "show_progress": "hidden",
        "postprocess": False,
        "api_visibility": "private",
        "concurrency_limit": None,
    }
)

STATIC = Path(__file__).parent / "static"  # scripts of the page


@dataclass(slots=True)
class _Parts:
    """The components that events touch."""

    chat: gr.Chatbot
    box: gr.Textbox
    key: gr.Textbox
    conversation: gr.Textbox
    files: gr.Textbox
    model: gr.Dropdown
    earlier: gr.Button
    new: gr.Button


def build_page(settings: Settings, handlers: Handlers, profiles: Sequence[Profile]) -> gr.Blocks:
    """Return the page, its events named after the methods of `handlers`.

    It is everybody's, so `profiles` are the agents that everybody may use.
    """
    demo = gr.Blocks(title=TITLE, fill_height=True, analytics_enabled=False)
    with demo:
        parts = _layout(settings, profiles)
        _on_open(demo, parts, handlers)
        _on_send(parts, handlers)
        _on_change(parts, handlers)
        # Makes the browser hold a heartbeat open; the event server sees it end.
        demo.unload(lambda: None)
        api(handlers.chat, api_name="chat", concurrency_limit=None)
    demo.api_open = False  # `queue()` would say so too, and build Gradio's app once more
    return demo


def _layout(settings: Settings, profiles: Sequence[Profile]) -> _Parts:
    with gr.Sidebar(width=280, open=False, elem_id="cmw-side"):
        new = gr.Button("New chat", icon=None, variant="primary", elem_id="cmw-new")
        gr.HTML('<div id="cmw-history"></div>', elem_id="cmw-recent")
    with gr.Column(elem_id="cmw-main"):
        gr.HTML(heading(settings, profiles), elem_id="cmw-head", padding=False)
        models = [settings.model, *(m for m in settings.models if m != settings.model)]
        model = gr.Dropdown(
            models,
            value=settings.model,
            label="Model",
            container=False,
            visible=len(models) > 1,
            elem_id="cmw-models",
            interactive=True,
        )
        earlier = gr.Button("Show earlier messages", size="sm", elem_id="cmw-earlier")
        chat = gr.Chatbot(
            elem_id="cmw-chat",
            show_label=False,
            label="Conversation",
            height="100%",
            layout="bubble",
            buttons=["copy"],
            editable="user",
            sanitize_html=True,
            allow_tags=False,
            feedback_options=("Like", "Dislike"),
            placeholder="## What can I do for you?",
            examples=[{"text": text} for text in EXAMPLES],
        )
        box = gr.Textbox(
            elem_id="cmw-input",
            show_label=False,
            label="Message",
            placeholder="Write a message…",
            container=False,
            lines=1,
            max_lines=8,
            autofocus=True,
            submit_btn=True,
            stop_btn=False,
        )
        key = gr.Textbox(visible=False)
        conversation = gr.Textbox(visible=False)
        files = gr.Textbox(visible=False)
        gr.HTML(
            '<div class="cmw-foot">Answers can be wrong. Your conversations are yours alone.</div>',
            elem_id="cmw-foot",
        )
    return _Parts(chat, box, key, conversation, files, model, earlier, new)


def heading(settings: Settings, profiles: Sequence[Profile]) -> str:
    """Return the page's head: its name, the agents, the model and, for the demo, what to set."""
    agents = _agents(profiles)
    if not settings.demo:
        model = html.escape(settings.model)
        shown = f'<span class="cmw-model" title="The model that answers">{model}</span>'
        # With several to choose from, the list beside it names the one that answers.
        return (
            f'<div class="cmw-head"><h1>{TITLE}</h1>{agents}'
            f"{'' if settings.models else shown}</div>"
        )
    return (
        f'<div class="cmw-head"><h1>{TITLE}</h1>{agents}'
        '<span class="cmw-model demo">demo model</span></div>'
        '<div class="cmw-demo" role="note">No model is configured, so a built-in demo answers. '
        "Set <code>OPENAI_API_KEY</code>, or <code>OPENAI_BASE_URL</code> for a server of your "
        "own, and start the app again.</div>"
    )


def _agents(profiles: Sequence[Profile]) -> str:
    if len(profiles) < 2:
        return ""
    links = "".join(
        f'<a href="?agent={profile.id}">{html.escape(profile.name)}</a>' for profile in profiles
    )
    return f'<nav class="cmw-agents" aria-label="Agents">{links}</nav>'


def _on_open(demo: gr.Blocks, parts: _Parts, handlers: Handlers) -> None:
    opened = [parts.chat, parts.conversation]
    demo.load(handlers.open_page, None, [*opened, parts.model], **QUIET).then(
        None, [parts.conversation], None, js=JS_OPENED, api_visibility="private"
    )
    parts.new.click(handlers.new_chat, None, opened, **QUIET).then(
        None, None, None, js=JS_LEAVE, api_visibility="private"
    )


def _on_send(parts: _Parts, handlers: Handlers) -> None:
    _before(parts.box.submit, parts, JS_BUSY)
    send = parts.box.submit(
        handlers.send,
        [parts.box, parts.key, parts.files, parts.model],
        [parts.chat, parts.conversation],
        js=JS_TAKE,
        api_name="send",
        show_progress="hidden",
        postprocess=False,
        concurrency_limit=None,
    )
    _after(send, parts)
    send.failure(None, None, [parts.box], js=JS_RESTORE, api_visibility="private")


def _on_change(parts: _Parts, handlers: Handlers) -> None:
    parts.chat.like(handlers.rate, None, None, **QUIET)
    parts.earlier.click(handlers.earlier, None, [parts.chat, parts.conversation], **QUIET).then(
        None, [parts.conversation], None, js=JS_OPENED, api_visibility="private"
    )
    parts.box.stop(handlers.stop, None, None, **QUIET)
    for trigger, handler in ((parts.chat.retry, handlers.retry), (parts.chat.edit, handlers.edit)):
        _before(trigger, parts, JS_AGAIN)
        again = trigger(handler, None, [parts.chat, parts.conversation], **QUIET)
        _after(again, parts)
        again.failure(None, [parts.conversation], [parts.box], js=JS_IDLE, api_visibility="private")


def _before(trigger: Callable[..., gr.events.Dependency], parts: _Parts, script: str) -> None:
    """Offer the stop button first of all; the browser runs listeners in this order."""
    trigger(
        None,
        [parts.box, parts.conversation],
        [parts.box],
        js=script,
        api_visibility="private",
        trigger_mode="multiple",
    )


def _after(event: gr.events.Dependency, parts: _Parts) -> None:
    """Take the stop button away once the event has ended well."""
    event.then(None, [parts.conversation], [parts.box], js=JS_IDLE, api_visibility="private")


def _event_of(name: str) -> type[gr.EventData] | None:
    """Return the class of an event's own data, for those handlers that take one."""
    return {"edit": gr.EditData, "rate": gr.LikeData}.get(name)


def functions(demo: gr.Blocks, handlers: Handlers) -> dict[int, PageEvent]:
    """Return the page's events by Gradio's index, for the event server."""
    turns = ("send", "retry", "edit", "chat")
    return {
        index: PageEvent(
            name=block.name,
            handler=getattr(handlers, block.name),
            inputs=len(block.inputs),
            outputs=len(block.outputs),
            event=_event_of(block.name),
            starts_turn=block.name in turns,
        )
        for index, block in demo.fns.items()
        if block.fn is not None and block.name in EVENTS
    }
