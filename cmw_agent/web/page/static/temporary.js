/* A temporary chat: the page says what it is, and marks its messages, so that none is stored.
 *
 * The server has the chat in the page's session alone. Where it has lost that, it refuses a marked
 * message rather than store it in an ordinary conversation.
 */
(() => {
  "use strict";
  const { cmw } = window;
  const { make, store, idle, opened, leave, leaving, t } = cmw;
  const NOTE = t("Temporary chat: nothing of it is stored here or in this browser, and it is gone, with what you have not "
    + "sent, when you reload, leave or close this page. The model’s provider receives it like any other chat. Files and "
    + "connected accounts are off.");
  const LOST = t("The connection was lost, and the temporary chat with it: this is a new one.");
  let chat = null; // its name
  let isLost = false; // the server has lost it
  let note = null;

  function show(text) {
    document.body.classList.toggle("cmw-temporary", chat !== null);
    note?.remove();
    note = chat === null ? null : make("div", { id: "cmw-temporary-note", role: "note" }, text);
    if (note) document.getElementById("cmw-head")?.after(note);
  }

  function end() {
    if (chat === null) return;
    chat = null;
    store.endTemporary();
    show();
  }

  // What stands in the box or waits goes on in the next one, where one follows another.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#cmw-temporary")) return;
    chat ??= store.newTemporary();
    show(isLost ? `${LOST} ${NOTE}` : NOTE);
    isLost = false;
    leave();
  }, true);

  cmw.temporaryChat = () => chat;
  cmw.messageKey = () => (chat === null ? cmw.newKey() : store.newTemporary());
  cmw.leave = () => { end(); leave(); };
  cmw.leaving = () => { end(); leaving(); };
  cmw.idle = (shown) => {
    const isOver = chat !== null && shown && !cmw.isLeft();
    if (isOver) cmw.leaving(); // by a command such as /new: an ordinary conversation has an id
    idle(shown);
    if (isOver) cmw.fire("opened");
  };
  cmw.opened = (shown, ...rest) => {
    if (chat === null || !shown) {
      opened(shown, ...rest);
      return;
    }
    isLost = true;
    document.getElementById("cmw-temporary").click();
  };
})();
