/* What stands in the box and was not sent: stored as it is written, for each conversation and tab.
 *
 * The files that were attached belong to it; the server keeps them for a while. A tab that opens a conversation finds its own draft there, else that of a tab that was closed. In a
 * temporary chat it stands in the box alone, and goes with the chat.
 */
(() => {
  "use strict";
  const { store, box } = window.cmw;
  const WRITE_MS = 250;
  const MOST = 100;
  let shown = null; // the conversation whose draft stands in the box; null while none does
  let timer = 0;

  const isOwn = (item, of) => item.conversation === of && item.tab === store.tab();

  function put(of, text, files = []) {
    const others = store.read("drafts").filter((item) => !isOwn(item, of));
    if (text.trim() || files.length) {
      others.push({ conversation: of, tab: store.tab(), text, files, at: Date.now() });
    }
    store.write("drafts", others.slice(-MOST));
  }

  function save() {
    clearTimeout(timer);
    timer = 0;
    if (shown !== null && !store.isTemporary(shown)) put(shown, box()?.value ?? "", window.cmw.filesHere?.());
  }

  function fill(text) {
    const input = box();
    if (!input || input.value === text) return;
    input.value = text;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function putAway() {
    if (shown === null || shown === store.chat()) return;
    save();
    fill("");
    window.cmw.putAwayFiles?.();
    shown = null;
  }

  async function open() {
    putAway();
    await store.ready;
    const isClosed = await store.closedTabs();
    putAway();
    const of = store.chat();
    if (shown === of) return;
    const found = store.read("drafts").filter((item) => item.conversation === of);
    const draft = found.find((item) => isOwn(item, of)) ?? found.findLast(isClosed);
    if (draft) {
      const isOther = (item) => item.conversation !== of || item.tab !== draft.tab;
      store.write("drafts", store.read("drafts").filter(isOther));
    }
    shown = of;
    window.cmw.showFiles?.(of);
    // Whoever was quick has written into the box before.
    fill([draft?.text, box()?.value].filter((text) => text?.trim()).join("\n\n"));
    window.cmw.detach?.(draft?.files ?? []);
    save();
  }

  window.cmw.drafts = {
    fill,
    save,
    // The box was emptied because its text was sent.
    clear() { fill(""); save(); },
    // The new conversation has an id now.
    rename(id) {
      if (shown !== "") return;
      put("", "");
      shown = id;
      window.cmw.moveFiles?.(id);
      save();
    },
    // Words were written down after the page had left the chat in which they were said.
    append(of, text) {
      if (store.isTemporary(of)) return;
      const draft = store.read("drafts").find((item) => isOwn(item, of));
      put(of, [draft?.text, text].filter((part) => part?.trim()).join(" "), draft?.files ?? []);
    },
    // A file was uploaded after the page had left its chat.
    attach(of, file) {
      const draft = store.read("drafts").find((item) => isOwn(item, of));
      put(of, draft?.text ?? "", [...(draft?.files ?? []), file]);
    },
  };

  document.addEventListener("input", ({ target }) => {
    if (target !== box() || timer) return;
    timer = setTimeout(save, WRITE_MS);
  });
  document.addEventListener("cmw:leaving", open);
  document.addEventListener("cmw:opened", open);
  window.addEventListener("pagehide", save);
  document.addEventListener("visibilitychange", () => { if (document.hidden) save(); });
})();
