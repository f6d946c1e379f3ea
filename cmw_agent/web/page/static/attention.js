/* Says in the tab's title and icon how many answers have come that the user has not seen: of the
 * conversation that the page shows while the tab is out of sight, and of those that the page left
 * while they were being written.
 */
(() => {
  "use strict";
  const { cmw } = window;
  const DOT = "%3Ccircle cx='26' cy='6' r='6' fill='%23e8590c'/%3E%3C/svg%3E";
  const icon = document.querySelector("link[rel=icon]");
  const plain = icon?.getAttribute("href");
  const left = new Set(); // conversations whose answers were being written when the page left them
  const ready = new Set(); // those whose answers have come since
  let mark = ""; // what stands before the tab's title
  let shown = null; // the conversation that the page shows, or is about to leave
  let isUnseen = false; // the answer of the shown one came while the tab was out of sight

  function tell() {
    const count = ready.size + (isUnseen ? 1 : 0);
    const title = document.title.startsWith(mark) ? document.title.slice(mark.length) : document.title;
    mark = count ? `${cmw.tn("({count}) Answer ready", "({count}) Answers ready", count)} – ` : "";
    document.title = mark + title;
    icon?.setAttribute("href", count ? plain.replace("%3C/svg%3E", DOT) : plain);
  }

  function show() {
    shown = cmw.conversation();
    left.delete(shown);
    ready.delete(shown);
    tell();
  }

  cmw.isReady = (id) => ready.has(id);

  document.addEventListener("cmw:named", show);
  document.addEventListener("cmw:opened", show);
  function leave() {
    if (shown && cmw.running()) left.add(shown);
    shown = null;
    isUnseen = false;
  }

  // At the click: the server lets the page's event end before the page has left.
  document.addEventListener("click", ({ target }) => { if (target.closest?.("#cmw-new, #cmw-temporary")) leave(); }, true);
  document.addEventListener("cmw:leaving", leave);
  document.addEventListener("cmw:idle", ({ detail: isDone }) => {
    if (isDone && document.hidden && !cmw.isLeft()) isUnseen = true;
    tell();
  });
  document.addEventListener("cmw:changed", ({ detail: { kind, conversation: id } }) => {
    if (kind === "deleted") for (const one of [left, ready]) if (id) one.delete(id); else one.clear();
    if (kind === "ended" && left.delete(id)) {
      ready.add(id);
      cmw.refresh?.();
    }
    tell();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    isUnseen = false;
    tell();
  });
})();
