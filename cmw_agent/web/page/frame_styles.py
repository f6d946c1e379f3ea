"""The style sheet of the page's frame: header, notices, welcome, phone, print."""

FRAME = """
/* -- the frame of the page -- */
.gradio-container { max-width: 100% !important; padding: 0 !important; }
.gradio-container > .main, .gradio-container main.contain { padding: 0 !important; }
footer, .toast-wrap { display: none !important; }
#cmw-main { width: auto; max-width: none; min-width: 0 !important; height: var(--cmw-height, 100dvh); margin: 0;
  box-sizing: border-box; padding: 0 1rem calc(.5rem + env(safe-area-inset-bottom)); display: flex;
  flex-direction: column; flex-wrap: nowrap; gap: .5rem; }
#cmw-main > * { width: 100%; max-width: 50rem; margin-inline: auto; box-sizing: border-box; }
#cmw-main > .form { display: none; }
:is(#cmw-main, #cmw-side) [data-testid="status-tracker"] { display: none; }
:is(#cmw-head, #cmw-foot, #cmw-brand, #cmw-recent) { flex: 0 0 auto; min-height: 0; padding: 0; background: transparent; }
:is(#cmw-head, #cmw-foot, #cmw-brand, #cmw-recent) .html-container { padding: 0; }
:is(button, a, select, input, summary, [role=button], [role=tab]):focus-visible { outline: 2px solid var(--cmw-accent);
  outline-offset: 1px; }

:is(#cmw-main, #cmw-side, dialog) .cmw-icon { flex: none; margin: 0; box-shadow: none; display: inline-grid; place-items: center; width: 2.25rem; height: 2.25rem; padding: 0;
  border: 0; border-radius: .6rem; background: none; color: var(--body-text-color-subdued); cursor: pointer;
  font-size: 1.25rem; line-height: 1; }
:is(#cmw-main, #cmw-side, dialog) .cmw-icon:hover { background: var(--border-color-primary); color: var(--body-text-color); }
#cmw-head svg, #cmw-brand svg { flex: none; width: 1.35rem; height: 1.35rem; fill: none; stroke: currentColor; stroke-width: 1.7;
  stroke-linecap: round; stroke-linejoin: round; }

/* -- the header -- */
:is(#cmw-head, #cmw-brand) { min-height: 3.25rem !important; }
#cmw-main > #cmw-head { max-width: none; overflow: visible; }
.cmw-head { display: flex; align-items: center; gap: .35rem; height: 3.25rem; margin-inline: -.5rem; }
#cmw-head h1 { flex: 1 1 auto; min-width: 0; margin: 0; font-size: 1rem; font-weight: 600; line-height: 1.3; }
#cmw-head #cmw-title { display: block; margin: 0; box-shadow: none; opacity: 1; max-width: 100%; padding: .3rem .5rem; border: 0; border-radius: .5rem; background: none;
  font: inherit; color: var(--body-text-color); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; cursor: pointer; }
#cmw-title:disabled { cursor: default; }
#cmw-title:not(:disabled):hover { background: var(--border-color-primary); }
.cmw-head h1 input { width: min(24rem, 50vw); padding: .25rem .5rem; font: inherit; border-radius: .5rem;
  color: var(--body-text-color); background: var(--input-background-fill); border: 1px solid var(--border-color-primary); }
.cmw-demo, #cmw-frame-note, #cmw-visit-note, #cmw-key-note, #cmw-mistake, #cmw-temporary-note { flex: 0 0 auto; font-size: .82rem; line-height: 1.45;
  padding: .4rem .75rem; border-radius: .6rem; color: var(--body-text-color);
  background: color-mix(in srgb, #e08a00 13%, transparent); }
.cmw-demo { max-width: 50rem; margin: 0 auto; text-align: center; box-sizing: border-box; }
#cmw-frame-note a { text-decoration: underline; }

/* -- an empty chat -- */
#cmw-welcome { display: none; }
.cmw-empty #cmw-welcome { display: flex; flex-direction: column; align-items: center; justify-content: center; gap: 1.25rem;
  flex: 1 1 0; min-height: 0; overflow-y: auto; padding-bottom: 4vh; }
.cmw-empty #cmw-main > #cmw-chat { flex: 0 0 0; min-height: 0; height: 0 !important; overflow: hidden; margin-top: -.5rem; }
/* Hidden, or its growth with the first message would count as a shift of the page. What is said of it is not. */
.cmw-empty #cmw-main > #cmw-chat { visibility: hidden; }
.cmw-empty #cmw-chat :is(.sr-only, .cmw-pane-alert) { visibility: visible; }
#cmw-welcome h2 { font-size: 1.6rem; font-weight: 600; margin: 0; text-align: center; text-wrap: balance; color: var(--body-text-color); }
#cmw-welcome ul { list-style: none; margin: 0; padding: 0; display: grid; gap: .6rem; width: 100%; max-width: 38rem;
  grid-template-columns: repeat(2, minmax(0, 1fr)); }
#cmw-welcome ul button { width: 100%; height: 100%; padding: .75rem 1rem; text-align: start; font-size: .92rem; line-height: 1.4;
  border: 1px solid var(--border-color-primary); border-radius: .9rem; background: var(--input-background-fill);
  color: var(--body-text-color); cursor: pointer; }
#cmw-welcome button:hover { border-color: var(--cmw-accent); }

/* -- what stands above the box -- */
#cmw-notices { flex: 0 0 auto; display: flex; flex-direction: column; gap: .4rem; max-height: 40%; overflow-y: auto; }
#cmw-notices:empty { display: none; }
.cmw-notice { display: flex; align-items: center; gap: .5rem; padding: .25rem .25rem .25rem .9rem; border-radius: .75rem;
  font-size: .9rem; color: var(--body-text-color); background: var(--border-color-primary); }
.cmw-notice.error { background: color-mix(in srgb, #dc2626 14%, var(--body-background-fill)); }
#cmw-main .cmw-notice .cmw-icon { color: inherit; }
.cmw-notice > button:not(.cmw-icon) { flex: none; min-height: 2rem; padding: .2rem .8rem; border: 1px solid var(--border-color-primary); border-radius: .6rem;
  background: none; color: inherit; font: inherit; font-weight: 600; cursor: pointer; }
.cmw-notice p { flex: 1; margin: 0; padding: .25rem 0; overflow-wrap: anywhere; }

/* -- below the box -- */
#cmw-foot .cmw-foot { font-size: .75rem; line-height: 1.3; text-align: center; color: var(--body-text-color-subdued); }
.cmw-foot:empty { display: none; }

/* -- narrow, low, printed -- */
@media (max-width: 640px) {
  #cmw-main { padding-inline: .6rem; gap: .4rem; }
  .cmw-head { height: 3rem; margin-inline: -.3rem; gap: 0; }
  #cmw-welcome ul { grid-template-columns: minmax(0, 1fr); max-width: 24rem; }
  #cmw-welcome h2 { font-size: 1.35rem; }
}
/* A phone's keyboard is open, or the page is zoomed to 200 % and more. */
@media (max-height: 520px) {
  #cmw-foot, .cmw-demo { display: none; }
  .cmw-head { height: 2.5rem; }
  #cmw-main { padding-bottom: .3rem; gap: .25rem; }
  #cmw-welcome { gap: .6rem; padding: 0; justify-content: flex-start; }
  #cmw-welcome h2 { font-size: 1.1rem; }
  #cmw-welcome button { padding: .4rem .8rem; }
  #cmw-main > #cmw-chat { min-height: 0; }
}
/* -- what an operator puts beside the chat -- */
#cmw-part { display: none; }
@media (min-width: 1100px) {
  #cmw-part { display: block; position: fixed; inset: 0 0 0 auto; z-index: 5; width: 19rem; min-width: 0; padding: 1rem;
    box-sizing: border-box; overflow: auto; border-inline-start: 1px solid var(--border-color-primary); }
  #cmw-main.cmw-beside { margin-inline-end: 19rem; }
}
@media print {
  html, body, .gradio-container, .main, main, #cmw-main, #cmw-main > #cmw-chat, #cmw-chat * { height: auto !important; max-height: none !important;
    overflow: visible !important; }
  #cmw-main, #cmw-main.cmw-beside { display: block; padding: 0; margin-inline-end: 0; }
  #cmw-main > :not(#cmw-chat, #cmw-head), .cmw-head > :not(h1), .cmw-demo, #cmw-side, #cmw-part, #cmw-backdrop, .cmw-skip, dialog,
  #cmw-chat :is(.message-buttons, .cmw-versions, button) { display: none !important; }
  #cmw-main > * { max-width: none; }
  body, .gradio-container { background: white !important; color: black !important; }
}
"""
