"""The style sheet of what stands around and in the chat: accounts, approvals, usage, sources, pictures."""

PANELS = """
/* -- a link at which an account is connected -- */
.cmw-connections .cmw-follow {
  display: inline-block; padding: .35rem .9rem; border-radius: .6rem; font-weight: 600;
  text-decoration: none; color: var(--cmw-on-colour); background: var(--button-primary-background-fill); }
/* Gradio's own colour for this is too faint behind white in the dark. */
:is(.cmw-follow, .cmw-approve):hover {
  filter: brightness(.9); }

/* -- accounts -- */
.cmw-connections [hidden] { display: none !important; }
.cmw-connections ul { list-style: none !important; margin: .25rem 0 0 !important; padding: 0 .6rem !important; }
.cmw-connections li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .1rem .5rem;
  align-items: center; margin: 0 !important; padding: .35rem 0 !important; }
.cmw-app { font-weight: 600; overflow-wrap: anywhere; }
.cmw-state { grid-row: 2; font-size: .78rem; color: var(--body-text-color-subdued); }
.cmw-state::before { content: ""; display: inline-block; width: .5rem; height: .5rem; margin-right: .4rem;
  border-radius: 50%; background: var(--body-text-color-subdued); }
[data-state=connected] > .cmw-state::before { background: #0f9d76; }
[data-state=waiting] > .cmw-state::before { background: #d97706; }
[data-state=expired] > .cmw-state::before { background: #dc2626; }
.cmw-connections li > :is(button, a) { grid-column: 2; grid-row: 1 / span 2; }
.cmw-connections li > .cmw-remove { grid-column: 3; }
.cmw-connections li[data-own] { grid-template-columns: minmax(0, 1fr) auto auto; }
.cmw-connections li > :is(.cmw-accounts, .cmw-another) { grid-column: 1 / -1; }
.cmw-connections .cmw-accounts li { align-items: center; }
.cmw-connections .cmw-accounts label { display: flex; flex-wrap: wrap; gap: .2rem .5rem; align-items: center;
  min-width: 0; overflow-wrap: anywhere; }
.cmw-connections .cmw-follow { font-size: .82rem; padding: .3rem .6rem; }
.cmw-sure { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .4rem; align-items: center;
  padding: .3rem 0; }
.cmw-sure > span { flex: 1 0 100%; }

/* -- questions before a tool runs; outside of the conversation -- */
#cmw-main > .sr-only { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
#cmw-approvals { flex: 0 0 auto; max-height: min(26rem, 45dvh); overflow-y: auto; display: flex;
  flex-direction: column; gap: .5rem; padding: 1px; }
.cmw-note { flex: 0 0 auto; }
.cmw-note[hidden], #cmw-approvals[hidden], #cmw-approvals [hidden] { display: none !important; }
.cmw-card { flex: 0 0 auto; overflow: clip; border: 1px solid #d97706; border-radius: .9rem; padding: .7rem .9rem 0;
  background: var(--input-background-fill); color: var(--body-text-color); font-size: .88rem; }
.cmw-card-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .75rem; }
.cmw-card h2 { font-size: .95rem; font-weight: 650; margin: 0; min-width: 0; flex: 1 1 auto;
  overflow-wrap: anywhere; color: var(--body-text-color); }
.cmw-card h2:focus { outline: none; }
.cmw-card h2:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; border-radius: .2rem; }
.cmw-card p { margin: .4rem 0; }
.cmw-left { font-size: .78rem; color: var(--body-text-color-subdued); }
.cmw-field { margin-top: .45rem; }
.cmw-field label > span { display: block; font-size: .78rem; font-weight: 600; overflow-wrap: anywhere; }
.cmw-field :is(input, textarea) { display: block; width: 100%; box-sizing: border-box; resize: none;
  font: inherit; line-height: 1.45; padding: .35rem .6rem; border-radius: .55rem; max-height: 12rem;
  color: var(--body-text-color); background: var(--body-background-fill);
  border: 1px solid var(--border-color-primary); }
.cmw-field :is(input, textarea):focus-visible { outline: 2px solid var(--color-accent); outline-offset: 1px; }
.cmw-field [aria-invalid] { border-color: #dc2626; }
.cmw-field-error, .cmw-card-error { display: block; margin-top: .2rem; font-size: .8rem; color: #b91c1c; }
.dark :is(.cmw-field-error, .cmw-card-error) { color: #fca5a5; }
.cmw-always { display: flex; align-items: center; gap: .5rem; margin-top: .6rem; cursor: pointer; }
.cmw-always input { accent-color: var(--color-accent); }
.cmw-card-end { position: sticky; bottom: 0; display: flex; gap: .5rem; margin: .6rem -.9rem 0;
  padding: .55rem .9rem .6rem; background: var(--input-background-fill);
  border-top: 1px solid var(--border-color-primary); }
.cmw-card-end button { padding: .4rem 1rem; border-radius: .6rem; font-weight: 600; cursor: pointer;
  border: 1px solid var(--border-color-primary); color: var(--body-text-color); background: none; }
.cmw-card-end button:not(.cmw-approve):hover { background: var(--border-color-primary); }
.cmw-card-end .cmw-approve { color: var(--cmw-on-colour); border-color: transparent;
  background: var(--button-primary-background-fill); }
.cmw-card-end button:disabled { opacity: .6; cursor: default; }

/* -- an import -- */
.cmw-import { display: flex; flex-direction: column; align-items: flex-start; gap: .5rem; margin: .25rem 0 .5rem;
  padding: .6rem .7rem; border-radius: .6rem; font-size: .84rem; line-height: 1.45; overflow-wrap: anywhere;
  color: var(--body-text-color); background: var(--border-color-primary); }
.cmw-import[hidden], .cmw-import [hidden], .cmw-import div:empty { display: none !important; }
.cmw-import progress { appearance: none; display: block; width: 100%; height: .4rem; border: 0; border-radius: 1rem;
  overflow: hidden; background: var(--body-background-fill); color: var(--color-accent); }
.cmw-import progress::-webkit-progress-bar { background: none; }
.cmw-import progress::-webkit-progress-value { background: var(--color-accent); border-radius: 1rem; transition: width .6s; }
.cmw-import progress::-moz-progress-bar { background: var(--color-accent); border-radius: 1rem; }
.cmw-import progress:indeterminate { background: linear-gradient(90deg, transparent 25%, var(--color-accent) 50%, transparent 75%)
  0 0 / 200% 100% var(--body-background-fill); animation: cmw-importing 1.6s linear infinite; }
.cmw-import progress:indeterminate::-moz-progress-bar { background: none; }
@keyframes cmw-importing { from { background-position: 150% 0; } to { background-position: -50% 0; } }
@media (prefers-reduced-motion: reduce) { .cmw-import progress:indeterminate { animation: none; } }
.cmw-import summary { cursor: pointer; }
.cmw-import ul { margin: .3rem 0 0 !important; padding-left: 1.1rem !important; max-height: 12rem; overflow-y: auto; }
#cmw-recent .cmw-import button { padding: 0; font-weight: 650; text-decoration: underline; }

/* -- messages that wait, and the connection -- */
#cmw-post, #cmw-receipt, #cmw-reopen, #cmw-switch { display: none !important; }
#cmw-outbox { flex: 0 0 auto; display: flex; flex-direction: column; gap: .35rem; }
#cmw-outbox:not(:has(> :not([hidden]))), #cmw-outbox [hidden], #cmw-offline[hidden] { display: none !important; }
.cmw-outbox-status, #cmw-offline { flex: 0 0 auto; font-size: .84rem; padding: 0 .25rem;
  color: var(--body-text-color-subdued); }
.cmw-outbox-status a { color: var(--body-text-color); text-decoration: underline; }
#cmw-offline::before { content: ""; display: inline-block; width: .5rem; height: .5rem; margin-right: .4rem;
  border-radius: 50%; background: #d97706; }
.cmw-waiting-messages { max-height: 30dvh; overflow-y: auto; }
.cmw-waiting-messages .cmw-chip { max-width: min(100%, 26rem); }
.cmw-waiting-messages .cmw-chip button:hover { background: var(--body-background-fill); }
#cmw-visit-note button { font-weight: 600; text-decoration: underline; cursor: pointer; color: inherit;
  background: none; }

/* -- what stands at an answer: its sources, buttons and pictures; and the wait for it -- */
.cmw-picture { margin: auto; padding: .6rem; border: 0; border-radius: .9rem; max-width: 96vw;
  max-height: 96dvh; color: var(--body-text-color); background: var(--input-background-fill); }
.cmw-picture::backdrop { background: rgb(0 0 0 / 60%); }
.cmw-picture img { display: block; max-width: 100%; max-height: 84dvh; margin: 0 auto; border-radius: .5rem; }
.cmw-picture > div { display: flex; gap: .75rem; justify-content: flex-end; padding-top: .5rem; }
.cmw-picture :is(a, button) { padding: .3rem .9rem; border-radius: .6rem; cursor: pointer; text-decoration: none;
  color: var(--body-text-color); background: none; border: 1px solid var(--border-color-primary); }
.cmw-silence { flex: 0 0 auto; font-size: .84rem; padding: 0 .25rem; font-variant-numeric: tabular-nums;
  color: var(--body-text-color-subdued); }
.cmw-silence[hidden] { display: none; }
"""
