/* Follows what other pages of the same user, here or on another device, do with the conversations.
 *
 * The server names a conversation and what has happened to it, and no text: the page asks for what it
 * shows. What stands in the box stays there.
 */
(() => {
  "use strict";
  const { cmw } = window;
  const DELETED = cmw.t("This chat was deleted in another tab or on another device; here is a new one.");
  const NOTE_MS = 15_000;
  const MISSED_MS = 5_000;
  let note = null;
  let stale = null; // the conversation of which another version is to be drawn

  const isShown = (id) => cmw.temporaryChat() === null && cmw.conversation() !== null
    && (id === null || id === cmw.conversation());

  function tell(text) {
    note ??= cmw.make("div", { className: "cmw-status cmw-note", role: "status" });
    note.textContent = text;
    document.querySelector("#cmw-input")?.before(note);
    clearTimeout(tell.timer);
    tell.timer = setTimeout(() => note.remove(), NOTE_MS);
  }

  function redraw() {
    if (stale === null || cmw.running() || stale !== cmw.conversation()) return;
    stale = null;
    document.querySelector("#cmw-redraw")?.click();
  }

  function leave() {
    const text = cmw.box()?.value ?? "";
    document.querySelector("#cmw-new")?.click();
    if (text.trim()) document.addEventListener("cmw:opened", () => cmw.drafts.fill(text), { once: true });
    tell(DELETED);
  }

  const handlers = {
    began(id) {
      if (isShown(id)) cmw.joinIn(id);
      if (!cmw.isListed(id)) cmw.refresh();
    },
    ended(id) {
      if (!isShown(id)) cmw.refresh();
    },
    shown(id) {
      if (!isShown(id)) return;
      stale = id;
      redraw();
    },
    deleted(id) {
      if (isShown(id)) leave();
      cmw.refresh();
    },
    listed: () => cmw.refresh(),
    // All pages are told at once, and are not to ask at once.
    missed() {
      setTimeout(() => {
        if (cmw.isLost()) return;
        cmw.refresh();
        if (isShown(null) && !cmw.running()) document.querySelector("#cmw-reopen")?.click();
      }, Math.random() * MISSED_MS);
    },
  };

  document.addEventListener("cmw:changed", ({ detail: { kind, conversation, own } }) => {
    if (!own) handlers[kind]?.(conversation);
  });
  document.addEventListener("cmw:idle", redraw);
})();
