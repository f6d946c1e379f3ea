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
<<<<<<< HEAD
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
=======
/* -- the frame of the page -- */
.gradio-container { max-width: 100% !important; padding: 0 !important; }
.gradio-container > .main, .gradio-container main.contain { padding: 0 !important; }
footer { display: none !important; }
#cmw-main { max-width: 52rem; margin: 0 auto; width: 100%; height: 100dvh; box-sizing: border-box;
  min-width: 0 !important; padding: .75rem 1rem calc(.6rem + env(safe-area-inset-bottom));
  display: flex; flex-direction: column; flex-wrap: nowrap; gap: .5rem; }
#cmw-main > .form { display: none; }
#cmw-head, #cmw-foot { flex: 0 0 auto; min-height: 0; padding: 0; background: transparent; }
#cmw-head .html-container, #cmw-foot .html-container, #cmw-recent .html-container { padding: 0; }
.cmw-head { display: flex; align-items: center; gap: .6rem; min-height: 2rem; }
.cmw-head h1 { font-size: 1.05rem; font-weight: 650; margin: 0; white-space: nowrap; }
.cmw-model { font-size: .78rem; padding: .1rem .6rem; border-radius: 99px; min-width: 0;
  border: 1px solid var(--border-color-primary); color: var(--body-text-color-subdued);
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.cmw-model::before { content: ""; display: inline-block; width: .5rem; height: .5rem;
  border-radius: 50%; background: #0f9d76; margin-right: .4rem; }
#cmw-models { max-width: 16rem; flex: none; margin-inline: 0 auto; }
.cmw-agents { display: flex; gap: .75rem; font-size: .85rem; }
.cmw-model.demo::before { background: #d97706; }
.cmw-demo, #cmw-frame-note, #cmw-visit-note, #cmw-temporary-note { font-size: .82rem; line-height: 1.45; padding: .45rem .75rem;
  border-radius: .6rem; color: var(--body-text-color);
  background: color-mix(in srgb, #e08a00 13%, transparent); }
.cmw-demo { margin: .4rem 0 0; }
.cmw-demo code { background: none; border: 0; padding: 0; font-size: .95em; font-weight: 600; }
#cmw-frame-note, #cmw-visit-note, #cmw-temporary-note { flex: 0 0 auto; }
#cmw-frame-note a { text-decoration: underline; }
.cmw-foot { font-size: .72rem; text-align: center; color: var(--body-text-color-subdued); }

/* -- the conversation: see frontend/src/pane -- */
:is(#cmw-main, #cmw-side) [data-testid="status-tracker"] { display: none; }
::highlight(cmw-hit) { color: black; background: #ffd43b; }

/* -- the box -- */
#cmw-input { flex: 0 0 auto; border: 1px solid var(--border-color-primary); border-radius: 1.25rem;
  background: var(--input-background-fill); box-shadow: 0 2px 8px rgb(0 0 0 / 7%);
  padding: .3rem .35rem .3rem .5rem; }
#cmw-input:focus-within { border-color: var(--color-accent); }
#cmw-input textarea { border: 0 !important; box-shadow: none !important; font-size: 1rem;
  max-height: 40dvh; background: transparent; }
#cmw-input :is(.submit-button, .stop-button) { width: 34px; min-width: 34px; height: 34px;
  border-radius: 50%; background: var(--button-primary-background-fill); color: white; }
#cmw-input :is(.submit-button, .stop-button):hover { background: var(--button-primary-background-fill-hover); }
#cmw-input .submit-button svg { width: 19px; height: 19px; }

/* -- files beside the box -- */
.cmw-files { flex: 0 0 auto; display: flex; flex-wrap: wrap; align-items: center; gap: .4rem; }
.cmw-files [hidden] { display: none !important; }
.cmw-chips { list-style: none !important; display: flex; flex-wrap: wrap; gap: .4rem; margin: 0 !important;
  padding: 0 !important; order: 2; }
.cmw-chip { display: flex; align-items: center; gap: .4rem; max-width: 16rem; font-size: .82rem;
  padding: .15rem .25rem .15rem .6rem; margin: 0 !important; border-radius: .6rem; color: var(--body-text-color);
  background: var(--border-color-primary); }
.cmw-chip > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.cmw-chip progress { width: 3rem; accent-color: var(--color-accent); }
.cmw-chip button, #cmw-attach { width: 1.9rem; height: 1.9rem; border-radius: 50%; line-height: 1;
  cursor: pointer; color: var(--body-text-color); background: none; }
#cmw-attach { font-size: 1.3rem; border: 1px solid var(--border-color-primary); }
.cmw-file-status { flex: 1 0 100%; font-size: .84rem; padding: .4rem .7rem; border-radius: .6rem;
  overflow-wrap: anywhere; background: var(--border-color-primary); color: var(--body-text-color); }
.cmw-dropping #cmw-input { outline: 2px dashed var(--color-accent); outline-offset: 2px; }

/* -- the sidebar -- */
#cmw-side:not(.open) .sidebar-content { visibility: hidden; }
#cmw-side .sidebar-content { padding: .9rem .9rem 1rem; }
#cmw-side.open { box-shadow: none; border-right: 1px solid var(--border-color-primary); }
#cmw-side .sidebar-content > .column { gap: .75rem; }
#cmw-new { width: calc(100% - 2.25rem); font-size: .95rem; padding: .45rem 1rem; box-shadow: none;
  border-radius: .75rem; }
#cmw-temporary { width: 100%; font-size: .88rem; font-weight: 400; padding: .35rem 1rem; box-shadow: none;
  border: 1px dashed var(--border-color-primary); border-radius: .75rem; background: none; }
#cmw-temporary:is(:hover, :focus-visible) { background: var(--border-color-primary); }
.cmw-temporary #cmw-input { border-style: dashed; }
.cmw-temporary #cmw-attach { display: none; }
#cmw-recent { padding: 0; background: transparent; }
.cmw-history { display: flex; flex-direction: column; gap: .5rem; }
.cmw-history .cmw-label { font-size: .75rem; font-weight: 600; margin: .5rem .6rem .15rem;
  color: var(--body-text-color-subdued); }
.cmw-history input { width: 100%; box-sizing: border-box; font-size: .88rem; padding: .4rem .6rem;
  color: var(--body-text-color); background: var(--input-background-fill); border-radius: .6rem;
  border: 1px solid var(--border-color-primary); }
.cmw-history input:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 1px; }
.cmw-recent { list-style: none !important; margin: 0 !important; padding: 0 !important; }
.cmw-recent li { margin: 0 !important; padding: 0 !important; position: relative; display: flex;
  flex-wrap: wrap; align-items: center; }
.cmw-history .cmw-recent a { flex: 1 1 0; min-width: 0; padding: .4rem .6rem; border-radius: .5rem;
  color: var(--body-text-color); font-size: .88rem; font-weight: 400; text-align: left;
  text-decoration: none; }
.cmw-recent a > span { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.cmw-recent .cmw-snippet { font-size: .76rem; color: var(--body-text-color-subdued); }
.cmw-history .cmw-recent a:is(:hover, :focus-visible) { background: var(--border-color-primary); }
.cmw-history .cmw-recent a[aria-current] { background: var(--border-color-primary); font-weight: 600; }
#cmw-recent .cmw-history button { color: var(--body-text-color); font-size: .84rem; cursor: pointer;
  font-weight: 400; border: 0; box-shadow: none; background: none; margin: 0; }
.cmw-more { flex: 0 0 auto; width: 1.9rem; height: 1.9rem; border-radius: .5rem; line-height: 1;
  padding: 0; }
#cmw-recent .cmw-history button:is(:hover, :focus-visible, [aria-expanded=true]) {
  background: var(--border-color-primary); }
.cmw-menu { display: flex; flex-direction: column; flex: 1 0 100%; margin: .2rem 0 .4rem .6rem;
  padding-left: .4rem; border-left: 2px solid var(--border-color-primary); }
#cmw-recent .cmw-menu button { text-align: left; padding: .35rem .6rem; border-radius: .45rem; }
.cmw-folder > summary { cursor: pointer; font-size: .84rem; padding: .35rem .6rem; border-radius: .5rem;
  color: var(--body-text-color); overflow-wrap: anywhere; }
.cmw-folder > summary:is(:hover, :focus-visible) { background: var(--border-color-primary); }
.cmw-folder > ul { margin-left: .6rem !important; }
.cmw-wide { padding: .35rem .6rem; border-radius: .5rem; text-align: left; width: 100%; }
.cmw-all progress { width: 100%; }
.cmw-all { margin-top: .5rem; padding-top: .5rem; border-top: 1px solid var(--border-color-primary); }
.cmw-account { padding-top: .5rem; border-top: 1px solid var(--border-color-primary); font-size: .84rem; }
.cmw-account > div { display: flex; align-items: center; justify-content: space-between; gap: .5rem;
  padding: 0 .6rem; overflow-wrap: anywhere; }
#cmw-recent .cmw-account button { padding: .3rem .6rem; border-radius: .5rem; flex: 0 0 auto; }
#cmw-recent .cmw-sign-in { display: block; padding: .35rem .6rem; border-radius: .5rem;
  color: var(--body-text-color); text-decoration: none; }
#cmw-recent .cmw-sign-in:is(:hover, :focus-visible) { background: var(--border-color-primary); }
.cmw-status { font-size: .84rem; padding: .5rem .7rem; border-radius: .6rem; overflow-wrap: anywhere;
  background: var(--border-color-primary); color: var(--body-text-color); }
#cmw-recent .cmw-history .cmw-status button { font-weight: 650; text-decoration: underline; }
.cmw-empty { color: var(--body-text-color-subdued); font-size: .85rem; margin: 0 .6rem; }

.toast-wrap .toast-close { color: var(--body-text-color) !important; opacity: 1; }
@keyframes cmw-pulse { 50% { opacity: .25; } }
:is(button, a, [role=button]):focus-visible { outline: 2px solid var(--color-accent); outline-offset: 1px; }
/* Here the sidebar's handle would cover the page's name. */
@media (max-width: 940px) { .cmw-head { padding-left: 2rem; } }
@media (max-width: 640px) {
  #cmw-main { padding: .7rem .6rem calc(.5rem + env(safe-area-inset-bottom)); }
}
>>>>>>> pane
"""
