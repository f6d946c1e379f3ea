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
        color_accent_soft="var(--cmw-soft)",
        color_accent_soft_dark="var(--cmw-soft)",
    )


CSS = """
/* -- the conversation -- */
#cmw-chat { flex: 1 1 0; min-height: 8rem; border: 0; background: transparent; }
#cmw-chat .top-panel, :is(#cmw-main, #cmw-side) [data-testid="status-tracker"] { display: none; }
#cmw-chat .bubble-wrap { background: transparent; padding: .25rem .25rem 0; }
#cmw-chat .message-wrap { overflow-anchor: auto; }
#cmw-chat .message-wrap .prose.chatbot.md { opacity: 1; }
#cmw-chat .message { overflow-wrap: anywhere; }
#cmw-chat .cmw-hit { outline: 2px solid var(--color-accent); outline-offset: -2px; border-radius: .5rem;
  background: color-mix(in srgb, var(--color-accent) 12%, transparent); }
::highlight(cmw-hit) { color: black; background: #ffd43b; }
/* A message may hold HTML of a model's making: it must not draw over the rest of the page. */
#cmw-chat .message > [data-testid] { contain: paint; }
#cmw-chat .file-container:has(img) :is(.file-icon, .file-type, .file-name) { display: none; }
#cmw-chat .file-link img { margin: 0; max-width: 100%; max-height: 60dvh; border-radius: .5rem; cursor: zoom-in; }
#cmw-chat .bot.message .file-container:has(img) { padding-inline: 0; }
#cmw-chat .message-row.bubble { margin: .5rem 0 .1rem; max-width: 100%; }
#cmw-chat .message-row.user-row { max-width: min(85%, 40rem); }
#cmw-chat .bot.message { background: none; border: 0; box-shadow: none; padding: .1rem 0; }
#cmw-chat .user.message { border: 0; box-shadow: none; padding: .45rem .9rem;
  border-radius: 1.1rem 1.1rem .25rem 1.1rem; }
#cmw-chat .prose > :first-child { margin-top: 0; }
#cmw-chat .prose > :last-child { margin-bottom: 0; }
#cmw-chat .prose pre { max-width: 100%; overflow-x: auto; }
#cmw-chat .prose table { display: block; width: fit-content; max-width: 100%; overflow-x: auto;
  border: 0 !important; }
#cmw-chat .message-buttons .icon-button-wrapper { margin: 0; border: 0; box-shadow: none;
  background: none; opacity: .75; }
#cmw-chat .message-buttons .icon-button-wrapper:is(:hover, :focus-within) { opacity: 1; }
/* Gradio's button that sends a file to another site. */
#cmw-chat .message-buttons button:is([aria-label=Share], [title=Share]) { display: none; }
#cmw-chat .message-buttons button { background: none; color: var(--body-text-color-subdued) !important; }
#cmw-chat .message-buttons button:hover { color: var(--body-text-color) !important; }
#cmw-chat .edit-textarea { width: min(34rem, 68vw) !important; min-height: 3.5rem !important;
  max-height: 40dvh; field-sizing: content; font-size: 1rem; padding: .5rem .75rem; color: inherit;
  background: var(--input-background-fill); }

/* A tool's step. The arrow stands in a button of its own inside the step's button: only
   the outer one may take the focus, and it alone has a name. */
#cmw-chat .thought-group { background: var(--block-background-fill); border-radius: .75rem;
  border: 1px solid var(--border-color-primary); padding: .1rem .75rem .1rem .25rem;
  margin: .15rem 0 .5rem; width: fit-content; max-width: 100%; box-sizing: border-box; }
#cmw-chat .thought-group .arrow button { visibility: hidden; }
#cmw-chat .thought-group .arrow button svg { visibility: visible; }
#cmw-chat .thought-group .content { margin: 0 .5rem .5rem 2rem; }
#cmw-chat .thought-group .message-content { opacity: 1; }
#cmw-chat .thought-group > .title[data-seconds]::after { content: attr(data-seconds);
  margin-left: .35rem; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }

/* -- versions -- */
#cmw-again, #cmw-redraw { display: none; }
.cmw-versions { display: flex; align-items: center; gap: .15rem; font-size: .8rem;
  color: var(--body-text-color-subdued); }
.cmw-versions.user { justify-content: flex-end; }
.cmw-versions button { min-width: 1.5rem; min-height: 1.5rem; padding: 0 .4rem; border-radius: .4rem;
  background: none; color: inherit; cursor: pointer; }
.cmw-versions button:is(:hover, :focus-visible):enabled { color: var(--body-text-color);
  background: var(--background-fill-secondary); }
.cmw-versions button:disabled { opacity: .4; cursor: default; }
.cmw-versions-error { margin: .3rem 0 0; font-size: .85rem; color: var(--error-text-color); }

.cmw-waiting { display: inline-block; font-size: 2rem; line-height: 1.2rem; animation: cmw-pulse 1.2s ease-in-out infinite; }
@keyframes cmw-pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .cmw-waiting { animation: none; } }
"""
