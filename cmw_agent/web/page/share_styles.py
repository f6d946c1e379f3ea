"""The style sheet of the dialog that shares a conversation."""

SHARES = """
.cmw-share { box-sizing: border-box; margin: auto; padding: 1.1rem 1.25rem; width: min(30rem, 94vw); max-height: 88dvh;
  overflow-y: auto; border: 1px solid var(--border-color-primary); border-radius: .9rem; font-size: .9rem; line-height: 1.45;
  color: var(--body-text-color); background: var(--input-background-fill); }
.cmw-share::backdrop { background: rgb(0 0 0 / 50%); }
.cmw-share h2 { margin: 0 0 .4rem; font-size: 1.05rem; color: var(--body-text-color); }
.cmw-share p { margin: 0 0 .6rem; color: var(--body-text-color-subdued); }
.cmw-share label { display: block; margin: .5rem 0; }
.cmw-share :is(select, input[type=text]) { font: inherit; padding: .3rem .5rem; border-radius: .55rem;
  color: var(--body-text-color); background: var(--body-background-fill);
  border: 1px solid var(--border-color-primary); }
.cmw-share select { appearance: auto; }
.cmw-share input[type=text] { width: 100%; box-sizing: border-box; }
.cmw-share input[type=checkbox] { width: 1rem; height: 1rem; vertical-align: -.15em; accent-color: var(--color-accent); }
.cmw-share .cmw-share-row { display: flex; flex-wrap: wrap; gap: .5rem; margin: .75rem 0; }
.cmw-share button { width: auto; padding: .4rem .9rem; border-radius: .6rem; font-weight: 600; cursor: pointer;
  color: var(--body-text-color); background: none; border: 1px solid var(--border-color-primary); }
.cmw-share button:hover { background: var(--border-color-primary); }
.cmw-share .cmw-main-action { color: var(--cmw-on-colour); border-color: transparent;
  background: var(--button-primary-background-fill); }
.cmw-share .cmw-main-action:hover { filter: brightness(.9); background: var(--button-primary-background-fill); }
.cmw-share button:disabled { opacity: .6; cursor: default; }
.cmw-share :is(button, select, input):focus-visible { outline: 2px solid var(--color-accent); outline-offset: 1px; }
.cmw-share ul { list-style: none !important; margin: .6rem 0 0 !important; padding: 0 !important; }
.cmw-share li { margin: 0 !important; padding: .6rem 0 .2rem !important;
  border-top: 1px solid var(--border-color-primary); }
.cmw-share .cmw-status { padding: .4rem .6rem; border-radius: .6rem; background: var(--border-color-primary); }
.cmw-share .cmw-status[hidden] { display: none; }
.cmw-share li > span { display: block; margin-top: .3rem; font-size: .8rem; color: var(--body-text-color-subdued); }
"""
