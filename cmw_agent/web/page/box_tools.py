"""The HTML of the tools in the message box: attach, agent, model and effort, commands.

A script (``static/composer.js``) moves them into Gradio's text box.
"""

import html
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cmw_agent.chat.model_choice import AUTO
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.model_profiles import Models
from cmw_agent.language import Language, wording

EFFORT_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        AUTO: wording("Default"),
        "none": wording("None"),
        "minimal": wording("Minimal"),
        "low": wording("Low"),
        "medium": wording("Medium"),
        "high": wording("High"),
        "xhigh": wording("Extra high"),
    }
)
ARROW_ICON: Final = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="m7 10 5 5 5-5"/></svg>'
PLUS_ICON: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 5.5v13M5.5 12h13"/></svg>'
)

SLASH_ICON: Final = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="m9.5 19 5-14"/></svg>'

VOICE_ICON: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="9" y="3.5" width="6" height="11" rx="3"/>'
    '<path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3"/></svg>'
)


def tools(
    models: Models,
    profiles: Sequence[AgentProfile],
    language: Language,
    *,
    has_voice: bool,
    suggests: bool,
) -> str:
    """Return the tools of the message box.

    Args:
        models: The models to choose from.
        profiles: The agents that everybody may use.
        language: Of the page.
        has_voice: Whether recordings can be written down.
        suggests: Whether the model suggests what may be written next.
    """
    attach = _button("cmw-attach", language.gettext("Attach files"), PLUS_ICON)
    slash = _button("cmw-slash", language.gettext("Commands and prompts"), SLASH_ICON)
    voice = _button("cmw-voice", language.gettext("Speak"), VOICE_ICON, "hidden")
    return (
        f'<div class="cmw-tools" id="cmw-tools"{" data-suggestions" if suggests else ""}>'
        f"{attach}{_answerer(models, profiles, language)}{slash}{voice if has_voice else ''}</div>"
    )


def _button(name: str, label: str, icon: str, further: str = "") -> str:
    text = html.escape(label)
    return (
        f'<button type="button" class="cmw-icon" id="{name}" aria-label="{text}" title="{text}" '
        f"{further}>{icon}</button>"
    )


def _answerer(models: Models, profiles: Sequence[AgentProfile], language: Language) -> str:
    """Return who answers: a button that opens the choice of agent, model and effort."""
    choices = (
        _agents(profiles, language)
        + _models(models, language)
        + _efforts(models, profiles, language)
    )
    first = next(iter(profiles), None)
    if first is not None and not first.uses_model:
        shown, without = language.translate(first.name), " data-without-model"
        label = html.escape(language.gettext("Agent: {name}", name=shown))
    else:
        shown, without = language.gettext("Demo") if models.is_demo else models.default, ""
        label = html.escape(language.gettext("Agent and model: {name}", name=shown))
    shown, group = html.escape(shown), html.escape(language.gettext("Who answers"))
    return (
        '<button type="button" class="cmw-model" id="cmw-choose" popovertarget="cmw-choices" '
        f'aria-label="{label}"><span>{shown}</span>{ARROW_ICON}</button>'
        f'<div id="cmw-choices"{without} popover role="group" aria-label="{group}">{choices}</div>'
    )


def _agents(profiles: Sequence[AgentProfile], language: Language) -> str:
    """Return the choice of the agent; a script fills it with those that one may use."""
    options = "".join(
        f'<option value="{profile.id}">{html.escape(language.translate(profile.name))}</option>'
        for profile in profiles
    )
    hidden = "" if len(profiles) > 1 else " hidden"
    label = html.escape(language.gettext("Agent"))
    return f'<label id="cmw-agent"{hidden}>{label} <select>{options}</select></label>'


def _models(models: Models, language: Language) -> str:
    options = "".join(
        f'<option value="{name}"{" selected" if name == models.default else ""}>{name}</option>'
        for name in map(html.escape, models.by_id)
    )
    hidden = "" if len(models.by_id) > 1 else " hidden"
    label = html.escape(language.gettext("Model"))
    return f'<label id="cmw-models"{hidden}>{label} <select>{options}</select></label>'


def _efforts(models: Models, profiles: Sequence[AgentProfile], language: Language) -> str:
    """Return the choice of the effort, which the page's script shows where the model has one."""
    tunable = sorted(
        {name for profile in profiles for name, has_effort in models.choices(profile) if has_effort}
    )
    if not tunable:
        return ""
    options = "".join(
        f'<option value="{value}">{html.escape(language.translate(label))}</option>'
        for value, label in EFFORT_LABELS.items()
    )
    offered = html.escape(json.dumps(tunable))
    label = html.escape(language.gettext("Effort"))
    return (
        f'<label id="cmw-effort" data-models="{offered}" hidden>{label} <select>{options}</select>'
        "</label>"
    )
