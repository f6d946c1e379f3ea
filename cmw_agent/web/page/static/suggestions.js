/* Suggestions of what to write next, below the last answer, where the operator has switched them on.
 *
 * They are nobody's messages: a press puts one into the box, and they go with the next message.
 */
(() => {
  "use strict";
  const { ask, conversation, box, drafts } = window.cmw;
  let asked = 0; // answers to older questions are dropped
  let of = null; // the conversation whose suggestions the page shows or waits for
  let isDue = false; // an answer has come, and its new conversation has no id yet

  function take(text) {
    const written = box().value;
    drafts.fill(written.trim() ? `${written.trimEnd()}\n${text}` : text);
    box().focus();
  }

  function clear() {
    asked += 1;
    of = null;
    isDue = false;
    window.cmw.pane?.suggest([], take);
  }

  async function load() {
    const mine = ++asked;
    const id = of = conversation();
    isDue = !id;
    if (!id || window.cmw.temporaryChat() !== null || window.cmw.isLeft()) return;
    const { suggestions } = await ask(`suggestions?c=${encodeURIComponent(id)}`).catch(() => ({ suggestions: [] }));
    if (mine === asked && !window.cmw.running()) window.cmw.pane.suggest(suggestions, take);
  }

  window.cmw.when("#cmw-tools", (tools) => {
    if (!("suggestions" in tools.dataset)) return;
    // An event that brought nothing new has no answer.
    document.addEventListener("cmw:idle", ({ detail: hasCome }) => { if (hasCome) load(); });
    document.addEventListener("cmw:named", () => { if (isDue) load(); });
    // The page is also drawn anew where it stays in its conversation.
    document.addEventListener("cmw:opened", () => { if (of && of === conversation()) load(); else clear(); });
    for (const name of ["busy", "leaving"]) document.addEventListener(`cmw:${name}`, clear);
  });
})();
