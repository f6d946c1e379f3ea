"""The style sheet of the sidebar, of its list and of menus."""

SIDE = """
#cmw-side { position: fixed; inset: 0 auto 0 0; z-index: 20; width: min(17rem, 88vw) !important; min-width: 0 !important;
  height: 100dvh; box-sizing: border-box; padding: 0 .75rem; visibility: hidden; gap: .15rem; display: flex;
  flex-direction: column; flex-wrap: nowrap; background: var(--background-fill-secondary);
  border-inline-end: 1px solid var(--border-color-primary); }
.cmw-side-open #cmw-side { visibility: visible; }
#cmw-side > * { width: 100%; }
@media (min-width: 1024px) {
  .cmw-side-open #cmw-main { margin-inline-start: 17rem; }
  #cmw-side #cmw-side-close { display: none; }
}
@media (max-width: 1023px) { .cmw-side-open #cmw-side { box-shadow: 0 0 40px rgb(0 0 0 / 30%); } }
@media (max-height: 520px) {
  #cmw-side { overflow-y: auto; }
  #cmw-side > #cmw-recent { flex: none; overflow: visible; }
  #cmw-side .cmw-history, #cmw-recent .html-container { height: auto !important; }
  #cmw-side .cmw-history > nav[aria-label="Recent conversations"] { max-height: none; overflow: visible; }
}
#cmw-backdrop { position: fixed; inset: 0; z-index: 10; background: rgb(0 0 0 / 40%); }
#cmw-backdrop[hidden] { display: none; }
#cmw-side .cmw-brand { display: flex; align-items: center; gap: .6rem; height: 3.25rem; padding-inline: .6rem 0; }
#cmw-side .cmw-brand strong { flex: 1; min-width: 0; font-size: 1.02rem; font-weight: 650; color: var(--body-text-color);
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#cmw-logo { flex: none; height: 1.75rem; max-width: 6rem; margin: 0; object-fit: contain; border-radius: .3rem; }
:is(#cmw-new, #cmw-temporary) { justify-content: flex-start; gap: .6rem; min-width: 0; height: 2.35rem; padding: 0 .6rem; border: 0;
  border-radius: .6rem; box-shadow: none; background: none; color: var(--body-text-color); font-size: .9rem; font-weight: 400; }
:is(#cmw-new, #cmw-temporary):is(:hover, :focus-visible) { background: var(--border-color-primary); }
#cmw-new { font-weight: 550; }
:is(#cmw-new, #cmw-temporary)::before { content: ""; flex: none; width: 1.15rem; height: 1.15rem; background: currentColor; }
#cmw-new::before { mask: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%23000' stroke-width='2' stroke-linecap='round' stroke-linejoin='round'%3E%3Cpath d='M12 5H7a3 3 0 0 0-3 3v9a3 3 0 0 0 3 3h9a3 3 0 0 0 3-3v-5'/%3E%3Cpath d='m9.5 14.5.8-3.2 7.6-7.6a1.6 1.6 0 0 1 2.4 2.4l-7.6 7.6z'/%3E%3C/svg%3E") center / contain no-repeat; }
#cmw-temporary::before { mask: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%23000' stroke-width='2' stroke-linecap='round'%3E%3Ccircle cx='12' cy='12' r='8.5' stroke-dasharray='4 3.6'/%3E%3Cpath d='M12 8v4l2.5 2'/%3E%3C/svg%3E") center / contain no-repeat; }
.cmw-temporary #cmw-input { border-style: dashed; }
.cmw-temporary #cmw-attach, .cmw-temporary #cmw-chat button:is([aria-label=Like], [aria-label=Dislike]) { display: none; }

#cmw-side > #cmw-recent { flex: 1 1 0; min-height: 0; margin-top: .4rem; overflow: hidden; }
#cmw-recent .html-container, #cmw-recent .html-container > div:has(> .cmw-history) { height: 100%; }
#cmw-side .cmw-history { display: flex; flex-direction: column; gap: .35rem; height: 100%; min-height: 0; }
#cmw-side .cmw-history > nav[aria-label="Recent conversations"] { flex: 0 1 auto; min-height: 2rem; overflow-y: auto; scrollbar-width: thin; }
#cmw-side .cmw-history .cmw-label { font-size: .75rem; font-weight: 600; margin: .7rem .6rem .2rem; color: var(--body-text-color-subdued); }
#cmw-side .cmw-history input { flex: none; width: 100%; box-sizing: border-box; font-size: .88rem; min-height: 2.25rem; padding: .3rem .6rem;
  color: var(--body-text-color); background: var(--input-background-fill); border-radius: .6rem;
  border: 1px solid var(--border-color-primary); }
#cmw-side .cmw-recent { list-style: none !important; margin: 0 !important; padding: 0 !important; }
#cmw-side .cmw-recent li { margin: 0 !important; padding: 0 !important; position: relative; display: flex; align-items: center;
  border-radius: .6rem; }
#cmw-side .cmw-history .cmw-recent a { flex: 1 1 0; min-width: 0; padding: .45rem .6rem; border-radius: .6rem;
  color: var(--body-text-color); font-size: .88rem; font-weight: 400; text-align: start; text-decoration: none; }
#cmw-side .cmw-recent a > span { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#cmw-side .cmw-recent .cmw-snippet { font-size: .76rem; color: var(--body-text-color-subdued); font-weight: 400; white-space: normal; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; }
#cmw-side .cmw-recent li > input:focus-visible { outline-offset: -2px; }
#cmw-side .cmw-recent li:is(:hover, :focus-within, :has(a[aria-current])) { background: var(--border-color-primary); }
#cmw-side .cmw-history .cmw-recent a[aria-current] { font-weight: 600; }
#cmw-recent .cmw-history button { color: var(--body-text-color); font-size: .86rem; cursor: pointer;
  font-weight: 400; border: 0; box-shadow: none; background: none; margin: 0; }
#cmw-side .cmw-more { flex: 0 0 auto; width: 1.9rem; height: 1.9rem; border-radius: .5rem; line-height: 1; padding: 0; }
@media (hover: hover) { #cmw-side .cmw-recent li:not(:hover, :focus-within) .cmw-more[aria-expanded=false] { opacity: 0; } }
#cmw-recent .cmw-history button:is(:hover, :focus-visible, [aria-expanded=true]) { background: var(--border-color-primary); }
#cmw-side .cmw-recent li .cmw-more:is(:hover, [aria-expanded=true]) { background: color-mix(in srgb, currentColor 14%, transparent) !important; }
#cmw-side .cmw-menu { position: fixed; inset: auto; margin: 0; width: max-content; min-width: 11rem; max-width: calc(100vw - 1rem);
  max-height: calc(100dvh - 1rem); overflow-y: auto; padding: .35rem; border: 1px solid var(--border-color-primary);
  border-radius: .8rem; background: var(--input-background-fill); box-shadow: 0 8px 30px rgb(0 0 0 / 18%); }
#cmw-recent .cmw-menu button { display: block; width: 100%; text-align: start; padding: .45rem .7rem; border-radius: .5rem; }
#cmw-recent .cmw-menu .cmw-danger { color: #b91c1c; }
.dark #cmw-recent .cmw-menu .cmw-danger { color: #fca5a5; }
#cmw-side .cmw-folder > summary { cursor: pointer; font-size: .86rem; padding: .4rem .6rem; border-radius: .6rem;
  color: var(--body-text-color); overflow-wrap: anywhere; }
#cmw-side .cmw-folder > summary:is(:hover, :focus-visible) { background: var(--border-color-primary); }
#cmw-side .cmw-folder > ul { margin-inline-start: .6rem !important; }
#cmw-side .cmw-archive { flex: none; max-height: 40%; overflow-y: auto; }
#cmw-side .cmw-wide { padding: .4rem .6rem; border-radius: .6rem; text-align: start; width: 100%; min-height: 2rem; flex: none; }
#cmw-side .cmw-side-end { flex: none; margin-top: auto; padding: .4rem 0 calc(.6rem + env(safe-area-inset-bottom));
  border-top: 1px solid var(--border-color-primary); }
#cmw-recent #cmw-settings-button { display: flex; align-items: center; gap: .6rem; width: 100%; min-height: 2.25rem;
  padding: 0 .6rem; border-radius: .6rem; text-align: start; }
#cmw-settings-button::before { content: ""; width: 1.15rem; height: 1.15rem; background: currentColor;
  mask: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%23000' stroke-width='2' stroke-linecap='round'%3E%3Cpath d='M4 7h9m4 0h3M4 17h3m4 0h9'/%3E%3Ccircle cx='15' cy='7' r='2.2'/%3E%3Ccircle cx='9' cy='17' r='2.2'/%3E%3C/svg%3E") center / contain no-repeat; }
#cmw-side .cmw-account { font-size: .86rem; }
#cmw-side .cmw-account > div { display: flex; align-items: center; justify-content: space-between; gap: .5rem; padding: 0 .6rem;
  overflow-wrap: anywhere; color: var(--body-text-color); }
#cmw-recent .cmw-account button { padding: .3rem .6rem; min-height: 1.9rem; border-radius: .5rem; flex: 0 0 auto; }
#cmw-recent .cmw-sign-in { display: block; padding: .45rem .6rem; border-radius: .6rem;
  color: var(--body-text-color); text-decoration: none; }
#cmw-recent .cmw-sign-in:is(:hover, :focus-visible) { background: var(--border-color-primary); }
.cmw-status { font-size: .84rem; padding: .5rem .7rem; border-radius: .6rem; overflow-wrap: anywhere;
  background: var(--border-color-primary); color: var(--body-text-color); }
.cmw-status[hidden] { display: none !important; }
#cmw-recent .cmw-history .cmw-status button { font-weight: 650; text-decoration: underline; min-height: 1.5rem; }
#cmw-side .cmw-history .cmw-empty, #cmw-settings .cmw-empty, #cmw-palette .cmw-empty { color: var(--body-text-color-subdued); font-size: .85rem; margin: .3rem .6rem; }
"""
