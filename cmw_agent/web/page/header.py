"""The HTML of the page's frame: the brand, the header with its choices, and the line below the box."""

import html
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cmw_agent.chat.model_choice import AUTO
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.config.model_profiles import Models
from cmw_agent.config.model_values import EFFORTS

DEMO_NOTE: Final = "Demonstration: a small built-in program answers here, not a language model."
EFFORT_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {AUTO: "Default"}
    | {name: {"xhigh": "Extra high"}.get(name, name.capitalize()) for name in EFFORTS}
)
PANEL_ICON: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3.5" y="5" width="17" height="14" rx="3"/>'
    '<path d="M9.5 5v14"/></svg>'
)
PEN_ICON: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 5H7a3 3 0 0 0-3 3v9a3 3 0 0 0 3 3h9a3 3 '
    '0 0 0 3-3v-5"/><path d="m9.5 14.5.8-3.2 7.6-7.6a1.6 1.6 0 0 1 2.4 2.4l-7.6 7.6z"/></svg>'
)
ARROW_ICON: Final = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="m7 10 5 5 5-5"/></svg>'


def brand(look: Look) -> str:
    """Return the top of the sidebar: logo, name and the button that closes it."""
    logo = f'<img id="cmw-logo" alt="" src="{look.logo.uri}">' if look.logo else ""
    return (
        f'<div class="cmw-brand">{logo}<strong>{html.escape(look.name)}</strong>'
        f'<button type="button" class="cmw-icon" id="cmw-side-close" aria-label="Close sidebar">'
        f"{PANEL_ICON}</button></div>"
    )


def heading(models: Models, profiles: Sequence[AgentProfile], look: Look) -> str:
    """Return the page's header: sidebar, title, who answers, new chat; below it the demo's note."""
    note = f'<div class="cmw-demo" role="note">{DEMO_NOTE}</div>' if models.is_demo else ""
    return (
        '<header class="cmw-head">'
        '<button type="button" class="cmw-icon" id="cmw-side-open" aria-label="Sidebar" '
        f'aria-controls="cmw-side" aria-expanded="false">{PANEL_ICON}</button>'
        f"<h1>{html.escape(look.name)}</h1>{_answerer(models, profiles)}"
        '<button type="button" class="cmw-icon" id="cmw-new-too" aria-label="Begin a new chat" '
        f'title="New chat">{PEN_ICON}</button></header>{note}'
    )


def footer(look: Look) -> str:
    """Return the line below the box."""
    return f'<div class="cmw-foot">{html.escape(look.footer)}</div>'


def _answerer(models: Models, profiles: Sequence[AgentProfile]) -> str:
    """Return who answers: a label, or a button with the choice of agent, model and effort."""
    choices = _agents(profiles) + _models(models) + _efforts(models, profiles)
    shown = "Demo" if models.is_demo else html.escape(models.default)
    if not choices:
        return f'<span class="cmw-model" title="The model that answers">{shown}</span>'
    return (
        '<button type="button" class="cmw-model" id="cmw-choose" popovertarget="cmw-choices" '
        f'aria-label="Agent and model: {shown}"><span>{shown}</span>{ARROW_ICON}</button>'
        f'<div id="cmw-choices" popover role="group" aria-label="Who answers">{choices}</div>'
    )


def _agents(profiles: Sequence[AgentProfile]) -> str:
    """Return the choice of the agent; a script fills it with those that one may use."""
    options = "".join(
        f'<option value="{profile.id}">{html.escape(profile.name)}</option>' for profile in profiles
    )
    hidden = "" if len(profiles) > 1 else " hidden"
    return f'<label id="cmw-agent"{hidden}>Agent <select>{options}</select></label>'


def _models(models: Models) -> str:
    options = "".join(
        f'<option value="{name}"{" selected" if name == models.default else ""}>{name}</option>'
        for name in map(html.escape, models.by_id)
    )
    hidden = "" if len(models.by_id) > 1 else " hidden"
    return f'<label id="cmw-models"{hidden}>Model <select>{options}</select></label>'


def _efforts(models: Models, profiles: Sequence[AgentProfile]) -> str:
    """Return the choice of the effort, which the page's script shows where the model has one."""
    tunable = sorted(
        {name for profile in profiles for name, has_effort in models.choices(profile) if has_effort}
    )
    if not tunable:
        return ""
    options = "".join(
        f'<option value="{value}">{label}</option>' for value, label in EFFORT_LABELS.items()
    )
    offered = html.escape(json.dumps(tunable))
    return (
        f'<label id="cmw-effort" data-models="{offered}" hidden>Effort <select>{options}</select>'
        "</label>"
    )
