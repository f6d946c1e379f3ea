"""The HTML of the page's frame: the brand, the header, and the line below the box."""

import html
from typing import Final

from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.look import Look
from cmw_agent.config.model_profiles import Models
from cmw_agent.language import Language, wording

DEMO_NOTE: Final = wording(
    "Demonstration: a small built-in program answers here, not a language model."
)
PANEL_ICON: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="3.5" y="5" width="17" height="14" rx="3"/>'
    '<path d="M9.5 5v14"/></svg>'
)
PEN_ICON: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 5H7a3 3 0 0 0-3 3v9a3 3 0 0 0 3 3h9a3 3 '
    '0 0 0 3-3v-5"/><path d="m9.5 14.5.8-3.2 7.6-7.6a1.6 1.6 0 0 1 2.4 2.4l-7.6 7.6z"/></svg>'
)


def brand(look: Look, language: Language) -> str:
    """Return the top of the sidebar: logo, name and the button that closes it."""
    logo = f'<img id="cmw-logo" alt="" src="{look.logo.uri}">' if look.logo else ""
    close = html.escape(language.gettext("Close sidebar"))
    return (
        f'<div class="cmw-brand">{logo}<strong>{html.escape(look.name)}</strong>'
        f'<button type="button" class="cmw-icon" id="cmw-side-close" aria-label="{close}">'
        f"{PANEL_ICON}</button></div>"
    )


def heading(models: Models, agent: AgentProfile | None, look: Look, language: Language) -> str:
    """Return the page's header: sidebar, title, new chat; below it the demo's note.

    Args:
        models: All models; the page's script shows the note where one of them is the demo.
        agent: Who answers where the page names none; None where nobody does before a sign-in.
        look: How the app looks.
        language: Of the page.
    """
    demo, note = html.escape(language.translate(DEMO_NOTE)), ""
    if any(model.is_demo for model in models.by_id.values()):
        hidden = "" if models.answers_as_demo(agent) else " hidden"
        note = f'<div class="cmw-demo" role="note"{hidden}>{demo}</div>'
    sidebar = html.escape(language.gettext("Sidebar"))
    begin = html.escape(language.gettext("Begin a new chat"))
    new = html.escape(language.gettext("New chat"))
    return (
        '<header class="cmw-head">'
        f'<button type="button" class="cmw-icon" id="cmw-side-open" aria-label="{sidebar}" '
        f'aria-controls="cmw-side" aria-expanded="false">{PANEL_ICON}</button>'
        f"<h1>{html.escape(look.name)}</h1>"
        f'<button type="button" class="cmw-icon" id="cmw-new-too" aria-label="{begin}" '
        f'title="{new}">{PEN_ICON}</button></header>{note}'
    )


def footer(look: Look, language: Language) -> str:
    """Return the line below the box."""
    return f'<div class="cmw-foot">{html.escape(language.translate(look.footer))}</div>'
