"""Looks of the page: theme and style sheet. No font or style comes from another site."""

from cmw_agent.web import environment as _environment  # noqa: F401  (before gradio)

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
        block_border_width="0px",
        block_shadow="none",
        input_border_width="1px",
    )


CSS = """
.gradio-container { max-width: 100% !important; padding: 0 !important; }
.gradio-container > .main, .gradio-container main.contain { padding: 0 !important; }
#cmw-main { max-width: 52rem; margin: 0 auto; width: 100%; height: 100dvh;
  padding: .5rem 1rem calc(.75rem + env(safe-area-inset-bottom)); box-sizing: border-box;
  display: flex; flex-direction: column; flex-wrap: nowrap; gap: .5rem; }
#cmw-head { padding: .35rem 0 .35rem 2.75rem; min-height: 0; }
.cmw-head { display: flex; align-items: center; gap: .6rem; flex-wrap: wrap; }
.cmw-head h1 { font-size: 1.05rem; font-weight: 650; margin: 0; }
.cmw-model { font-size: .8rem; padding: .12rem .6rem; border-radius: 99px;
  border: 1px solid var(--border-color-primary); color: var(--body-text-color-subdued); }
.cmw-model::before { content: "●"; color: #0f9d76; margin-right: .35rem; }
.cmw-model.demo::before { color: #c77700; }
.cmw-demo, #cmw-frame-note { font-size: .85rem; line-height: 1.4; margin: .35rem 0 0;
  padding: .5rem .75rem; border-radius: .6rem;
  background: color-mix(in srgb, #e08a00 14%, transparent); color: var(--body-text-color); }
#cmw-frame-note { margin: 0; border-radius: 0; text-align: center; }
#cmw-frame-note a { text-decoration: underline; }
#cmw-chat { flex: 1 1 0; min-height: 8rem; border: 0; background: transparent; }
#cmw-chat .message-wrap { overflow-anchor: auto; }
#cmw-chat .message { overflow-wrap: anywhere; }
#cmw-chat [data-testid="status-tracker"] { display: none; }
.dark #cmw-chat, .dark #cmw-head { background: transparent; }
#cmw-input { flex: 0 0 auto; }
#cmw-chat button[title="Clear"], #cmw-chat button[aria-label="Clear"] { display: none; }
#cmw-input { border: 1px solid var(--border-color-primary); border-radius: 1rem;
  background: var(--input-background-fill); box-shadow: 0 1px 6px rgb(0 0 0 / 8%); padding: .2rem; }
#cmw-input:focus-within { border-color: var(--color-accent); }
#cmw-input textarea { border: 0 !important; box-shadow: none !important; font-size: 1rem; max-height: 40dvh; }
.cmw-foot { font-size: .72rem; text-align: center; color: var(--body-text-color-subdued); }
#cmw-foot { flex: 0 0 auto; min-height: 0; padding: 0; }
.cmw-recent { list-style: none; margin: .25rem 0; padding: 0; }
.cmw-recent a { display: block; padding: .4rem .6rem; border-radius: .5rem; color: inherit;
  text-decoration: none; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.cmw-recent a:hover, .cmw-recent a:focus-visible { background: var(--background-fill-secondary); }
.cmw-recent a[aria-current] { background: var(--background-fill-secondary); font-weight: 600; }
.cmw-empty { color: var(--body-text-color-subdued); font-size: .85rem; }
.cmw-waiting { display: inline-block; animation: cmw-pulse 1.2s ease-in-out infinite; }
@keyframes cmw-pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .cmw-waiting { animation: none; } }
footer { display: none !important; }
@media (max-width: 640px) { #cmw-main { padding: .25rem .6rem calc(.5rem + env(safe-area-inset-bottom)); } }
"""
