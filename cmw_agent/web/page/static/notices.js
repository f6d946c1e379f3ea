/* What the server says in Gradio's toasts, drawn above the box instead of over the chat.
 *
 * An error stays until its user closes it, sends the next message or opens another chat.
 */
(() => {
  "use strict";
  const { make, box, t } = window.cmw;
  const SHOWN_MS = 10_000; // a notice that is no error
  const MOST = 3;
  const seen = new WeakSet();
  let list;

  // `action` is a button that stands beside the words.
  function show(text, title, isError, action) {
    const close = make("button", { type: "button", className: "cmw-icon", "aria-label": t("Dismiss") }, "×");
    const words = make("p", {}, ...(title ? [make("strong", {}, title), " "] : []), text);
    const notice = make("div", { className: `cmw-notice${isError ? " error" : ""}`, role: isError ? "alert" : "status" },
      words, ...(action ? [action] : []), close);
    close.addEventListener("click", () => {
      notice.remove();
      box()?.focus();
    });
    for (const same of [...list.children]) if (same.firstElementChild.textContent === words.textContent) same.remove();
    list.append(notice);
    while (list.children.length > MOST) list.firstElementChild.remove();
    if (!isError) setTimeout(() => notice.remove(), SHOWN_MS);
  }

  // A toast may hold several sentences, which Gradio draws after its frame.
  function take(sentence) {
    const text = sentence.textContent.trim();
    if (seen.has(sentence) || !text) return;
    seen.add(sentence);
    const toast = sentence.closest(".toast-body");
    const isError = toast.classList.contains("error");
    const title = toast.querySelector(".toast-title")?.textContent.trim() ?? "";
    // The word for an error, in whichever language Gradio has it, says nothing that the sentence does not.
    show(text, isError ? "" : title, isError);
    toast.querySelector(".toast-close")?.click();
  }

  window.cmw.when("#cmw-input", (input) => {
    list = make("div", { id: "cmw-notices" });
    input.before(list);
    const look = () => { for (const sentence of document.querySelectorAll(".toast-wrap [data-testid=toast-text]")) take(sentence); };
    window.cmw.when(".toast-wrap", (wrap) => {
      new MutationObserver(look).observe(wrap, { childList: true, subtree: true, characterData: true });
      look();
    });
  });
  const clear = () => list?.replaceChildren();
  document.addEventListener("cmw:leaving", clear);
  document.addEventListener("cmw:running", ({ detail: isRunning }) => { if (isRunning) clear(); });
  window.cmw.notice = (text, isError = false, action = null) => show(text, "", isError, action);
})();
