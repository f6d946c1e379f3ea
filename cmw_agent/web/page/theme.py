"""The page's theme and style sheet; no font or style comes from another site."""

from cmw_agent.web.gradio_transport import environment as _environment  # noqa: F401  (before gradio)

import gradio as gr  # isort: skip

SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """Return the page's theme, for light and dark."""
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        background_fill_primary_dark="*neutral_950",
        background_fill_secondary_dark="*neutral_900",
        block_background_fill_dark="*neutral_900",
        block_border_width="0px",
        block_shadow="none",
        input_border_width="1px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        # The operator's colour, and what is derived from it: see `cmw_agent.web.page.colours`.
        button_primary_background_fill="var(--cmw-colour)",
        button_primary_background_fill_hover="var(--cmw-hover)",
        button_primary_background_fill_dark="var(--cmw-colour)",
        button_primary_background_fill_hover_dark="var(--cmw-hover)",
        button_primary_text_color="var(--cmw-on-colour)",
        button_primary_text_color_dark="var(--cmw-on-colour)",
        color_accent="var(--cmw-accent)",
        link_text_color="var(--cmw-accent)",
        link_text_color_dark="var(--cmw-accent)",
        link_text_color_hover="var(--cmw-accent)",
        link_text_color_hover_dark="var(--cmw-accent)",
        link_text_color_active="var(--cmw-accent)",
        link_text_color_active_dark="var(--cmw-accent)",
        link_text_color_visited="var(--cmw-accent)",
        link_text_color_visited_dark="var(--cmw-accent)",
        color_accent_soft="var(--cmw-soft)",
        color_accent_soft_dark="var(--cmw-soft)",
    )


CSS = """
/* -- the conversation: see frontend/src/pane -- */
:is(#cmw-main, #cmw-side) [data-testid="status-tracker"] { display: none; }
@keyframes cmw-pulse { 50% { opacity: .25; } }
"""
