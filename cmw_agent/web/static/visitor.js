/* Runs before Gradio's own script, in the page's head.
 *
 * Identity: where the browser refuses the visitor cookie (a frame on another site), the
 * server gives a signed token instead, which this script keeps for the tab and sends as a
 * header with each request to this app. Where the cookie works, no token exists at all.
 */
(() => {
  "use strict";
  const HEADER = "x-cmw-visitor";
  const KEY = "cmw.visitor";
  const base = new URL(".", document.baseURI);
  const realFetch = window.fetch.bind(window);

  let token = null;
  try { token = sessionStorage.getItem(KEY); } catch { /* storage is refused as well */ }

  const known = realFetch(new URL("visitor", base), {
    headers: token ? { [HEADER]: token } : {},
    cache: "no-store",
  }).then((answer) => answer.json()).then((visit) => {
    token = visit.token;
    try {
      if (token) sessionStorage.setItem(KEY, token);
      else sessionStorage.removeItem(KEY);
    } catch { /* the token lasts as long as the page, then */ }
    if (token) whenReady(showFrameNote);
  }).catch(() => { /* the page works as far as the cookie carries it */ });

  window.fetch = async (input, options) => {
    const url = new URL(input instanceof Request ? input.url : String(input), document.baseURI);
    if (url.origin !== base.origin) return realFetch(input, options);
    await known;
    if (!token) return realFetch(input, options);
    const headers = new Headers(options?.headers ?? (input instanceof Request ? input.headers : undefined));
    headers.set(HEADER, token);
    return realFetch(input, { ...options, headers });
  };

  function whenReady(action) {
    if (document.body) action();
    else document.addEventListener("DOMContentLoaded", action, { once: true });
  }

  function showFrameNote() {
    const note = document.createElement("div");
    note.id = "cmw-frame-note";
    note.setAttribute("role", "note");
    const link = document.createElement("a");
    link.href = location.href;
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = "Open it in its own tab";
    note.append("Your browser keeps no cookie for this page here, so your chats last as long as this tab. ",
                link, " to keep them.");
    document.body.prepend(note);
  }

  /* What the page's events do in the browser alone. */
  let taken = "";
  let running = false;

  function setConversation(id) {
    const url = new URL(location.href);
    if (id) url.searchParams.set("c", id);
    else url.searchParams.delete("c");
    if (url.href !== location.href) history.replaceState(history.state, "", url);
  }

  const update = (props) => ({ __type__: "update", ...props });

  window.cmw = {
    // A turn begins: a message leaves the box, and is kept here until the server has it.
    busy(text, id) {
      if (running) return update({});
      running = true;
      taken = text ?? "";
      if (id) setConversation(id);
      return update({ value: "", submit_btn: false, stop_btn: true });
    },
    // The key makes it harmless to send the same message twice.
    take() {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      return [taken, Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")];
    },
    idle() {
      running = false;
      return update({ submit_btn: true, stop_btn: false });
    },
    // The server refused the message: nothing that was written is lost.
    restore() {
      running = false;
      return update({ value: taken, submit_btn: true, stop_btn: false });
    },
    // The page may have asked for a conversation that is not there, or another's.
    opened(id) {
      if (new URL(location.href).searchParams.get("c") !== id) setConversation(null);
    },
    leave() { setConversation(null); document.querySelector("#cmw-input textarea")?.focus(); },
    example(event) { return event?.value?.text ?? ""; },
  };
})();
