/* A temporary chat: the page says what it is, and marks its messages, so that none is stored.
 *
 * The server has the chat in the page's session alone. Where it has lost that, it refuses a marked
 * message rather than store it in an ordinary conversation.
 */
(() => {
  "use strict";
  const { cmw } = window;
  const { make, take, say, idle } = cmw;
  const MARK = "temporary:";
  const NOTE = "Temporary chat: nothing of it is stored here, and it is gone when you reload, leave or close this "
    + "page. The model’s provider receives it like any other chat. Files and connected accounts are off.";
  let note = null;

  cmw.isTemporary = () => note !== null;

  function set(on) {
    document.body.classList.toggle("cmw-temporary", on);
    note?.remove();
    note = null;
    if (!on) return;
    note = make("div", { id: "cmw-temporary-note", role: "note" }, NOTE);
    document.getElementById("cmw-head")?.after(note);
  }

  const marked = ([text, key, ...rest]) => [text, note ? MARK + key : key, ...rest];
  cmw.take = (...given) => marked(take(...given));
  cmw.say = (...given) => marked(say(...given));
  // A command such as /new may have left for an ordinary conversation, which has an id.
  cmw.idle = (shown) => {
    if (note && shown) set(false);
    return idle(shown);
  };
  cmw.temporary = () => {
    cmw.leave();
    set(true);
  };
  document.addEventListener("cmw:opened", () => set(false));
})();
