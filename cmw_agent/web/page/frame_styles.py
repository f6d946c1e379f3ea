"""The style sheet of the page's frame: sidebar, header, notices, welcome, box, phone, print."""

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
#cmw-head h1 { flex: 0 1 auto; min-width: 0; margin: 0; font-size: 1rem; font-weight: 600; line-height: 1.3; }
#cmw-head #cmw-title { display: block; margin: 0; box-shadow: none; opacity: 1; max-width: 100%; padding: .3rem .5rem; border: 0; border-radius: .5rem; background: none;
  font: inherit; color: var(--body-text-color); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; cursor: pointer; }
#cmw-title:disabled { cursor: default; }
#cmw-title:not(:disabled):hover { background: var(--border-color-primary); }
.cmw-head h1 input { width: min(24rem, 50vw); padding: .25rem .5rem; font: inherit; border-radius: .5rem;
  color: var(--body-text-color); background: var(--input-background-fill); border: 1px solid var(--border-color-primary); }
#cmw-head .cmw-model { display: inline-flex; margin: 0; box-shadow: none; font-weight: 400; align-items: center; flex: 0 1 auto; min-width: 4rem; max-width: 20rem; height: 2.25rem;
  margin-inline-end: auto; padding: 0 .35rem 0 .6rem; border: 0; border-radius: .6rem; background: none; font-size: .9rem;
  color: var(--body-text-color-subdued); }
#cmw-head .cmw-model > * { color: inherit; }
.cmw-model > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#cmw-choose { cursor: pointer; }
#cmw-choose:not(:disabled):hover { background: var(--border-color-primary); color: var(--body-text-color); }
#cmw-choose:disabled { cursor: default; opacity: 1; }
#cmw-choose:disabled svg { display: none; }
#cmw-choices { inset: auto; margin: 0; padding: .75rem; border: 1px solid var(--border-color-primary); border-radius: .9rem;
  width: min(17rem, calc(100vw - 1rem)); box-sizing: border-box; background: var(--input-background-fill);
  color: var(--body-text-color); box-shadow: 0 8px 30px rgb(0 0 0 / 15%); }
#cmw-choices label { display: grid; gap: .2rem; font-size: .8rem; color: var(--body-text-color-subdued); }
#cmw-choices label[hidden] { display: none; }
#cmw-choices label + label { margin-top: .6rem; }
:is(#cmw-choices, #cmw-settings) select { font: inherit; font-size: .9rem; appearance: auto; min-height: 2.25rem; padding: .2rem .5rem;
  border-radius: .6rem; cursor: pointer; color: var(--body-text-color); background: var(--body-background-fill);
  border: 1px solid var(--border-color-primary); max-width: 100%; }
.cmw-demo, #cmw-frame-note, #cmw-visit-note, #cmw-temporary-note { flex: 0 0 auto; font-size: .82rem; line-height: 1.45;
  padding: .4rem .75rem; border-radius: .6rem; color: var(--body-text-color);
  background: color-mix(in srgb, #e08a00 13%, transparent); }
.cmw-demo { max-width: 50rem; margin: 0 auto; text-align: center; box-sizing: border-box; }
#cmw-frame-note a { text-decoration: underline; }

/* -- an empty chat -- */
#cmw-welcome { display: none; }
.cmw-empty #cmw-welcome { display: flex; flex-direction: column; align-items: center; justify-content: center; gap: 1.25rem;
  flex: 1 1 0; min-height: 0; overflow-y: auto; padding-bottom: 4vh; }
.cmw-empty #cmw-main > #cmw-chat { flex: 0 0 0; min-height: 0; height: 0 !important; overflow: hidden; margin-top: -.5rem; }
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
.cmw-notice p { flex: 1; margin: 0; padding: .25rem 0; overflow-wrap: anywhere; }

/* -- the box -- */
#cmw-input { flex: 0 0 auto; display: flex; align-items: flex-end; overflow: hidden; border: 1px solid var(--border-color-primary);
  border-radius: 1.6rem; background: var(--input-background-fill); box-shadow: 0 2px 10px rgb(0 0 0 / 6%); padding: .35rem; }
#cmw-input:focus-within { border-color: var(--cmw-accent); }
#cmw-input > label { flex: 1; min-width: 0; }
#cmw-input textarea { border: 0 !important; box-shadow: none !important; font-size: 1rem; max-height: min(40dvh, 16rem);
  background: transparent; padding-inline: .35rem; }
#cmw-input textarea:focus-visible { outline: none; }
#cmw-input :is(.submit-button, .stop-button) { width: 2.4rem; min-width: 2.4rem; height: 2.4rem;
  border-radius: 50%; background: var(--cmw-colour); color: var(--cmw-on-colour); margin-bottom: 0; }
#cmw-input :is(.submit-button, .stop-button):hover { background: var(--cmw-hover); }
#cmw-input .submit-button svg { width: 19px; height: 19px; }
#cmw-attach { flex: none; order: -1; width: 2.4rem; height: 2.4rem; padding: 0; border: 0; border-radius: 50%; cursor: pointer;
  background: none; color: var(--body-text-color-subdued); display: grid; place-items: center; }
#cmw-attach:hover { background: var(--border-color-primary); color: var(--body-text-color); }
#cmw-attach::before { content: ""; width: 1.25rem; height: 1.25rem; background: currentColor;
  mask: linear-gradient(#000 0 0) center / 100% .12rem no-repeat, linear-gradient(#000 0 0) center / .12rem 100% no-repeat; }
#cmw-foot .cmw-foot { font-size: .75rem; line-height: 1.3; text-align: center; color: var(--body-text-color-subdued); }
.cmw-foot:empty { display: none; }

/* -- files beside the box -- */
.cmw-files { flex: 0 0 auto; display: flex; flex-wrap: wrap; align-items: center; gap: .4rem; }
.cmw-files:not(:has(> :not([hidden]))), .cmw-files [hidden] { display: none !important; }
.cmw-chips { list-style: none !important; display: flex; flex-wrap: wrap; gap: .4rem; margin: 0 !important;
  padding: 0 !important; order: 2; }
.cmw-chip { display: flex; align-items: center; gap: .4rem; max-width: 16rem; font-size: .82rem;
  padding: .15rem .25rem .15rem .6rem; margin: 0 !important; border-radius: .6rem; color: var(--body-text-color);
  background: var(--border-color-primary); }
.cmw-chip > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.cmw-chip progress { width: 3rem; accent-color: var(--cmw-accent); }
.cmw-chip button { width: 1.9rem; height: 1.9rem; border-radius: 50%; line-height: 1; cursor: pointer;
  color: var(--body-text-color); background: none; }
.cmw-file-status { flex: 1 0 100%; font-size: .84rem; padding: .4rem .7rem; border-radius: .6rem;
  overflow-wrap: anywhere; background: var(--border-color-primary); color: var(--body-text-color); }
.cmw-dropping #cmw-input { outline: 2px dashed var(--cmw-accent); outline-offset: 2px; }

/* -- narrow, low, printed -- */
@media (max-width: 640px) {
  #cmw-main { padding-inline: .6rem; gap: .4rem; }
  .cmw-head { height: 3rem; margin-inline: -.3rem; gap: 0; }
  #cmw-head h1 { flex: 1 1 8rem; }
  #cmw-head .cmw-model { flex: 0 1 auto; max-width: 42vw; margin-inline-end: 0; }
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
  #cmw-input textarea { max-height: 30dvh; }
}
@media print {
  html, body, .gradio-container, .main, main, #cmw-main, #cmw-main > #cmw-chat, #cmw-chat * { height: auto !important; max-height: none !important;
    overflow: visible !important; }
  #cmw-main { display: block; padding: 0; }
  #cmw-main > :not(#cmw-chat, #cmw-head), .cmw-head > :not(h1), .cmw-demo, #cmw-side, #cmw-backdrop, .cmw-skip, dialog,
  #cmw-chat :is(.message-buttons, .cmw-versions, button) { display: none !important; }
  #cmw-main > * { max-width: none; }
  body, .gradio-container { background: white !important; color: black !important; }
}
"""
