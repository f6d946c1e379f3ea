"""The style sheet of the settings dialog and of the palette."""

DIALOGS = """
:is(#cmw-settings, #cmw-palette) { margin: auto; padding: 0; border: 1px solid var(--border-color-primary); border-radius: 1.1rem;
  color: var(--body-text-color); background: var(--input-background-fill); box-shadow: 0 20px 60px rgb(0 0 0 / 30%);
  font-size: .92rem; overflow: hidden; }
:is(#cmw-settings, #cmw-palette)::backdrop { background: rgb(0 0 0 / 45%); }
#cmw-settings { width: min(48rem, calc(100vw - 1.5rem)); height: min(36rem, calc(100dvh - 1.5rem)); max-width: none; max-height: none; }
#cmw-settings[open] { display: flex; flex-direction: column; }
#cmw-settings > header { display: flex; align-items: center; justify-content: space-between; padding: .6rem .6rem .6rem 1.25rem;
  border-bottom: 1px solid var(--border-color-primary); }
#cmw-settings :is(h2, h3) { margin: 0; font-weight: 650; color: var(--body-text-color); }
#cmw-settings h2 { font-size: 1.05rem; }
#cmw-settings h3 { font-size: .98rem; }
.cmw-settings-body { flex: 1; min-height: 0; display: flex; }
#cmw-settings [role=tablist] { flex: 0 0 11.5rem; padding: .6rem; display: flex; flex-direction: column; gap: .1rem; overflow-y: auto;
  border-inline-end: 1px solid var(--border-color-primary); }
#cmw-settings [role=tab] { flex: none; text-align: start; padding: .5rem .7rem; border: 0; border-radius: .6rem; background: none;
  color: var(--body-text-color); cursor: pointer; font-size: .9rem; line-height: 1.3; scroll-margin-inline: 1.5rem; }
#cmw-settings [role=tab][hidden] { display: none; }
#cmw-settings [role=tab]:hover { background: var(--border-color-primary); }
#cmw-settings [role=tab][aria-selected=true] { background: var(--border-color-primary); font-weight: 600; }
.cmw-sections { flex: 1; min-width: 0; overflow-y: auto; padding: 1.1rem 1.25rem; }
.cmw-sections > section { display: flex; flex-direction: column; gap: .75rem; }
.cmw-sections > section[hidden] { display: none; }
.cmw-sections > section:focus { outline: none; }
#cmw-settings p { margin: 0; line-height: 1.5; color: var(--body-text-color-subdued); }
#cmw-settings a { color: var(--cmw-accent); text-decoration: underline; }
.cmw-setting { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .3rem 1rem; padding: .5rem 0;
  border-bottom: 1px solid var(--border-color-primary); }
.cmw-setting > span { flex: 1 1 10rem; }
.cmw-consent { display: flex; align-items: center; gap: .6rem; min-height: 2rem; cursor: pointer; }
#cmw-settings :has(> .cmw-consent) { padding-top: .8rem; }
.cmw-consent input { flex: none; width: 1.1rem; height: 1.1rem; margin: 0; accent-color: var(--color-accent); }
.cmw-setting :is(select, input) { flex: 0 1 18rem; min-width: 0; }
.cmw-setting input { padding: .4rem .6rem; font: inherit; border-radius: .6rem; color: var(--body-text-color);
  background: var(--input-background-fill); border: 1px solid var(--border-color-primary); }
#cmw-settings small { display: block; line-height: 1.4; font-size: .8rem; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.cmw-sections button:not(.cmw-icon), .cmw-sections .cmw-follow { min-height: 2.25rem; padding: .35rem .9rem; border-radius: .6rem;
  border: 1px solid var(--border-color-primary); background: none; color: var(--body-text-color); cursor: pointer; font-size: .9rem; }
#cmw-settings .cmw-follow { display: inline-flex; align-items: center; text-decoration: none; color: var(--cmw-on-colour);
  background: var(--cmw-colour); border-color: transparent; }
.cmw-sections button:hover { background: var(--border-color-primary); }
.cmw-sections button:disabled { opacity: .75; cursor: default; }
.cmw-dialog-row { display: flex; flex-wrap: wrap; gap: .5rem; }
.cmw-danger-zone { display: flex; flex-direction: column; align-items: flex-start; gap: .6rem; margin-top: .5rem; padding: .9rem 1rem;
  border: 1px solid #dc2626; border-radius: .9rem; }
#cmw-settings .cmw-danger-zone h3 { color: #b91c1c; }
.dark #cmw-settings .cmw-danger-zone h3 { color: #fca5a5; }
.cmw-danger-zone label { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem; }
.cmw-danger-zone input { min-height: 2.25rem; width: 10rem; padding: .2rem .6rem; border-radius: .6rem; font: inherit;
  color: var(--body-text-color); background: var(--body-background-fill); border: 1px solid var(--border-color-primary); }
.cmw-sections .cmw-danger-zone button:not(:disabled) { color: #fff; background: #b91c1c; border-color: #b91c1c; }
.cmw-own-list { list-style: none !important; margin: 0 !important; padding: 0 !important; }
.cmw-own-list li { display: flex; align-items: center; gap: .75rem; padding: .55rem 0; margin: 0;
  border-bottom: 1px solid var(--border-color-primary); }
#cmw-settings .cmw-empty { margin: 0; font-size: .9rem; }
.cmw-own-list li.cmw-empty { border: 0; }
.cmw-own-list li > div { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.cmw-own-list li strong { font-weight: 550; }
#cmw-settings .cmw-usage { border-collapse: collapse; width: 100%; color: var(--body-text-color); }
.cmw-usage :is(th, td) { padding: .55rem 0; text-align: end; font-weight: 400; font-variant-numeric: tabular-nums;
  border-bottom: 1px solid var(--border-color-primary); }
.cmw-usage th { text-align: start; }
.cmw-keys { display: grid; grid-template-columns: minmax(0, max-content) minmax(50%, 1fr); gap: .6rem 1rem; margin: 0; align-items: baseline; }
.cmw-keys kbd { white-space: nowrap; }
.cmw-keys dd { margin: 0; }
kbd { display: inline-block; min-width: 1.3rem; padding: .1rem .4rem; margin-inline-end: .2rem; text-align: center; font: inherit;
  font-size: .82rem; border: 1px solid var(--border-color-primary); border-bottom-width: 2px; border-radius: .4rem;
  background: var(--body-background-fill); color: var(--body-text-color); }

#cmw-palette { width: min(36rem, calc(100vw - 1.5rem)); max-height: min(30rem, calc(100dvh - 2rem)); margin-top: 10dvh; }
#cmw-palette[open] { display: flex; flex-direction: column; }
#cmw-palette input { flex: none; width: 100%; box-sizing: border-box; padding: .9rem 1.2rem; border: 0; font: inherit; font-size: 1rem;
  border-bottom: 1px solid var(--border-color-primary); color: var(--body-text-color); background: none; }
#cmw-palette input:focus-visible { outline: none; }
#cmw-palette > .cmw-empty { margin: 0; padding: 1rem 1.2rem; }
#cmw-palette ul { list-style: none; margin: 0; padding: .4rem; overflow-y: auto; }
#cmw-palette [role=option] { display: flex; align-items: baseline; gap: .75rem; padding: .55rem .8rem; border-radius: .6rem; cursor: pointer; }
#cmw-palette [role=option][aria-selected=true] { background: var(--border-color-primary); }
#cmw-palette [aria-selected=true] small { color: inherit; }
#cmw-palette [role=option] > span { flex: 1 1 auto; min-width: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#cmw-palette small { flex: none; max-width: 45%; font-size: .8rem; color: var(--body-text-color-subdued); white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
@media (max-width: 640px), (max-height: 420px) {
  #cmw-settings { width: 100vw; height: 100dvh; border: 0; border-radius: 0; }
  .cmw-settings-body { flex-direction: column; }
  #cmw-settings [role=tablist] { flex: none; flex-direction: row; overflow-x: auto; border-inline-end: 0;
    border-bottom: 1px solid var(--border-color-primary); }
  #cmw-palette { margin-top: .75rem; }
}
@media (max-width: 400px) {
  #cmw-palette small { display: none; }
}
"""
