"""The style sheet of the message box: its files, its text, its tools, and what opens from them."""

COMPOSER = """
/* -- the box: files, the text, a row of tools -- */
#cmw-input { flex: 0 0 auto; display: grid; grid-template-columns: minmax(0, 1fr) auto auto; align-items: center;
  gap: .15rem .3rem; overflow: hidden; padding: .4rem; border: 1px solid var(--border-color-primary); border-radius: 1.4rem;
  background: var(--input-background-fill); box-shadow: 0 2px 10px rgb(0 0 0 / 6%); }
#cmw-input:focus-within { border-color: var(--cmw-accent); }
/* Gradio's label and container: their parts stand in the grid themselves. */
#cmw-input > label, #cmw-input .input-container { display: contents; }
#cmw-input textarea { grid-area: 2 / 1 / auto / -1; border: 0 !important; box-shadow: none !important; font-size: 1rem; margin: 0;
  min-height: 2.4rem; max-height: min(40dvh, 16rem); background: transparent; padding: .45rem .6rem .3rem; }
#cmw-input textarea:focus-visible { outline: none; }
#cmw-input :is(.submit-button, .stop-button) { grid-row: 3; width: 2.25rem; min-width: 2.25rem; height: 2.25rem; margin: 0;
  border-radius: 50%; background: var(--cmw-colour); color: var(--cmw-on-colour); }
#cmw-input .submit-button { grid-column: 3; }
#cmw-input .stop-button { grid-column: 2; }
body.cmw-running:not(.cmw-has-text) #cmw-input .stop-button { grid-column: 3; }
body:not(.cmw-running) #cmw-input .stop-button,
body.cmw-running:not(.cmw-has-text) #cmw-input .submit-button { display: none; }
#cmw-input :is(.submit-button, .stop-button):hover { background: var(--cmw-hover); }
#cmw-input .submit-button svg { width: 19px; height: 19px; }
.cmw-tools { grid-area: 3 / 1; display: flex; align-items: center; gap: .1rem; min-width: 0; }
#cmw-foot .cmw-tools { display: none; } /* until the script has moved them */
.cmw-tools svg { flex: none; width: 1.3rem; height: 1.3rem; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round;
  stroke-linejoin: round; }
#cmw-input .cmw-tools > .cmw-icon { border-radius: 50%; }

/* -- who answers -- */
#cmw-input .cmw-model { display: inline-flex; margin: 0; box-shadow: none; font-weight: 400; align-items: center; flex: 0 1 auto; min-width: 2.25rem;
  max-width: 20rem; height: 2.25rem; padding: 0 .35rem 0 .6rem; border: 0; border-radius: 1.2rem; background: none; font-size: .9rem;
  color: var(--body-text-color-subdued); }
#cmw-input .cmw-model > * { color: inherit; }
.cmw-model > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.cmw-model > svg { width: 1.1rem; }
#cmw-choose { cursor: pointer; }
#cmw-choose:not(:disabled):hover { background: var(--border-color-primary); color: var(--body-text-color); }
#cmw-choose:disabled { cursor: default; opacity: 1; padding-inline-end: .6rem; }
#cmw-choose:disabled svg { display: none; }
#cmw-choices { inset: auto; margin: 0; padding: .75rem; border: 1px solid var(--border-color-primary); border-radius: .9rem;
  width: min(17rem, calc(100vw - 1rem)); max-height: calc(100dvh - 1rem); overflow-y: auto; box-sizing: border-box;
  background: var(--input-background-fill); color: var(--body-text-color); box-shadow: 0 8px 30px rgb(0 0 0 / 15%); }
#cmw-choices label { display: grid; gap: .2rem; font-size: .8rem; color: var(--body-text-color-subdued); }
#cmw-choices label[hidden] { display: none; }
#cmw-choices label + label { margin-top: .6rem; }
:is(#cmw-choices, #cmw-settings) select { font: inherit; font-size: .9rem; appearance: auto; min-height: 2.25rem; padding: .2rem .5rem;
  border-radius: .6rem; cursor: pointer; color: var(--body-text-color); background: var(--body-background-fill);
  border: 1px solid var(--border-color-primary); max-width: 100%; }

/* -- voice -- */
#cmw-voice[aria-busy] { opacity: .5; }
#cmw-input .cmw-tools > #cmw-voice.cmw-recording { color: #fff; background: #b91c1c; }
.cmw-voice-status { padding-inline: .35rem; font-size: .85rem; white-space: nowrap; font-variant-numeric: tabular-nums;
  color: var(--body-text-color); }
.cmw-voice-status[hidden], #cmw-voice[hidden] { display: none !important; }
.cmw-tools:has(.cmw-recording) .cmw-model { display: none; }

/* -- commands and prompts -- */
#cmw-slash-list { inset: auto; margin: 0; padding: .35rem; box-sizing: border-box; overflow-y: auto; list-style: none;
  border: 1px solid var(--border-color-primary); border-radius: 1rem; background: var(--input-background-fill);
  color: var(--body-text-color); box-shadow: 0 8px 30px rgb(0 0 0 / 15%); font-size: .92rem; }
#cmw-slash-list [role=option] { display: flex; align-items: baseline; gap: .75rem; min-height: 1.5rem; margin: 0; padding: .45rem .7rem;
  border-radius: .65rem; cursor: pointer; }
#cmw-slash-list [aria-selected=true] { background: var(--border-color-primary); }
#cmw-slash-list [role=option] > span { flex: 0 1 auto; max-width: 60%; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#cmw-slash-list small { flex: 1 1 0; min-width: 0; font-size: .82rem; color: var(--body-text-color-subdued); white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
#cmw-slash-list [aria-selected=true] small { color: inherit; }
#cmw-slash-list small:empty { display: none; }
@media (max-width: 600px) {
  #cmw-slash-list [role=option] { flex-wrap: wrap; gap: .1rem .75rem; }
  #cmw-slash-list [role=option] > span { max-width: 100%; }
  #cmw-slash-list small { flex: 0 1 auto; max-width: 100%; white-space: normal; }
}
#cmw-slash-list span:has(+ small:empty) { max-width: none; }
.cmw-prompt-form { display: flex; flex-direction: column; gap: .6rem; padding-top: .5rem; }
.cmw-prompt-form label { display: grid; gap: .2rem; font-size: .85rem; }
.cmw-prompt-form :is(input, textarea) { box-sizing: border-box; width: 100%; min-height: 2.25rem; padding: .4rem .6rem; font: inherit;
  font-size: .92rem; border-radius: .6rem; resize: vertical; color: var(--body-text-color); background: var(--body-background-fill);
  border: 1px solid var(--border-color-primary); }
.cmw-prompt-form > button { align-self: start; }
.cmw-prompt-form [hidden] { display: none; }

/* -- files in the box, and messages that wait above it -- */
.cmw-files { grid-area: 1 / 1 / auto / -1; display: flex; flex-wrap: wrap; align-items: center; gap: .4rem; padding: .2rem .2rem .1rem; }
.cmw-files:not(:has(> :not([hidden]))), .cmw-files [hidden] { display: none !important; }
.cmw-chips { list-style: none !important; display: flex; flex-wrap: wrap; gap: .4rem; margin: 0 !important;
  padding: 0 !important; order: 2; max-width: 100%; }
.cmw-files .cmw-chips { max-height: 30dvh; overflow-y: auto; }
.cmw-chip { display: flex; align-items: center; gap: .4rem; max-width: min(18rem, 100%); box-sizing: border-box; font-size: .82rem;
  padding: .15rem .25rem .15rem .6rem; margin: 0 !important; border-radius: .6rem; color: var(--body-text-color);
  background: var(--border-color-primary); }
.cmw-chip:has(> img) { padding-inline-start: .2rem; }
.cmw-chip > img { flex: none; width: 2.4rem; height: 2.4rem; margin: 0; object-fit: cover; border-radius: .45rem; }
.cmw-chip > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.cmw-chip progress { flex: none; width: 3rem; height: .4rem; appearance: none; border: 0; border-radius: 1rem; overflow: hidden;
  background: var(--input-background-fill); color: var(--cmw-accent); }
.cmw-chip progress::-webkit-progress-bar { background: none; }
.cmw-chip progress::-webkit-progress-value { background: var(--cmw-accent); border-radius: 1rem; }
.cmw-chip progress::-moz-progress-bar { background: var(--cmw-accent); border-radius: 1rem; }
.cmw-chip.failed { box-shadow: inset 0 0 0 1px #dc2626; }
.cmw-chip button { flex: none; min-width: 1.9rem; height: 1.9rem; border-radius: 1rem; line-height: 1; cursor: pointer;
  color: var(--body-text-color); background: none; }
.cmw-chip button:hover { background: var(--input-background-fill); }
.cmw-chip .cmw-again { padding: 0 .5rem; font-weight: 600; }
.cmw-file-status { flex: 1 0 100%; box-sizing: border-box; font-size: .84rem; padding: .4rem .7rem; border-radius: .8rem;
  overflow-wrap: anywhere; background: var(--border-color-primary); color: var(--body-text-color); }
.cmw-file-status button { font-weight: 600; text-decoration: underline; cursor: pointer; color: inherit; background: none; }
#cmw-drop { position: fixed; inset: 0; z-index: 40; display: none; place-items: center; pointer-events: none;
  background: color-mix(in srgb, var(--body-background-fill) 80%, transparent); }
.cmw-dropping #cmw-drop { display: grid; }
#cmw-drop > p { margin: 1rem; padding: 1.5rem 2rem; border: 2px dashed var(--cmw-accent); border-radius: 1.2rem; font-size: 1.1rem;
  font-weight: 600; text-align: center; color: var(--body-text-color); background: var(--input-background-fill); }

@media (max-width: 640px) {
  #cmw-input .cmw-model { max-width: 13rem; }
}
@media (max-height: 520px) {
  #cmw-input { padding: .2rem .3rem; row-gap: 0; }
  #cmw-input textarea { min-height: 2rem; max-height: 30dvh; padding-block: .3rem .15rem; }
  #cmw-input :is(.submit-button, .stop-button), #cmw-input .cmw-tools > button { height: 2rem; }
}
"""
