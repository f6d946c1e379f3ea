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

  // The parts of the page, once Gradio has made them.
  const mounted = new Promise((resolve) => {
    const look = () => {
      const [main, input, side] = ["main", "input", "side"].map((part) =>
        document.getElementById(`cmw-${part}`));
      if (!main || !input || !side) return;
      watch.disconnect();
      resolve({ main, input, side });
    };
    const watch = new MutationObserver(look);
    watch.observe(document.documentElement, { childList: true, subtree: true });
  });

  let token = null;
  try { token = sessionStorage.getItem(KEY); } catch { /* storage is refused as well */ }

  const known = realFetch(new URL("visitor", base), {
    headers: token ? { [HEADER]: token } : {},
    cache: "no-store",
  }).then((answer) => answer.json()).then((visit) => {
    token = visit.token;
    let stored = false;
    try {
      if (token) sessionStorage.setItem(KEY, token);
      else sessionStorage.removeItem(KEY);
      stored = true;
    } catch { /* the token lasts as long as the page, then */ }
    if (token) mounted.then(({ main }) => showFrameNote(main, stored));
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

  function showFrameNote(main, stored) {
    const note = document.createElement("div");
    note.id = "cmw-frame-note";
    note.setAttribute("role", "note");
    const link = document.createElement("a");
    link.href = base.href; // not this conversation's: in its own tab it is another visitor's
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = "Open it in its own tab";
    const until = stored ? "as long as this tab" : "until this page is reloaded or left";
    note.append(`Your browser keeps no cookie for this page here, so your chats last ${until}. `,
                link, " to keep them.");
    main.prepend(note);
  }

  /* What the page's events do in the browser alone. */
  const SIDE = "cmw.side"; // remembered when a user closes the sidebar
  const WIDE = matchMedia("(min-width: 1100px)");
  let taken = "";
  let attached = []; // files that left with the message
  let running = false;

  // `change` is how the browser's history takes it: a conversation that is left stays in it.
  function setConversation(id, change = "replaceState") {
    const url = new URL(location.href);
    url.searchParams.delete("at");
    if (id) url.searchParams.set("c", id);
    else url.searchParams.delete("c");
    if (url.href !== location.href) history[change](history.state, "", url);
  }

  function showEarlier(there) {
    document.getElementById("cmw-main")?.classList.toggle("cmw-has-earlier", there);
  }

  const update = (props) => ({ __type__: "update", ...props });
  const box = () => document.querySelector("#cmw-input textarea");
  const sideIsOpen = () => document.querySelector("#cmw-side")?.classList.contains("open");
  const toggleSide = () => document.querySelector("#cmw-side .toggle-button")?.click();

  const choice = (model) => window.cmw.choice?.(model) ?? model;

  // The key makes it harmless to send the same message twice.
  function newKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
  }

  const fire = (event) => document.dispatchEvent(new CustomEvent(`cmw:${event}`));

  window.cmw = {
    // A turn begins: a message leaves the box, and is kept here until the server has it.
    busy(text, id) {
      if (running) return update({});
      running = true;
      taken = text ?? "";
      if (id) setConversation(id.replace(/\+$/, ""));
      return update({ value: "", submit_btn: false, stop_btn: true });
    },
    // An old message is answered once more, or a button's text: what stands in the box stays.
    again() {
      running = true;
      taken = "";
      return update({ submit_btn: false, stop_btn: true });
    },
    take(model) {
      attached = window.cmw.attached?.() ?? [];
      return [taken, newKey(), attached.length ? JSON.stringify(attached) : "", choice(model)];
    },
    // A button below an answer was pressed: its text is sent, and what stands in the box stays.
    say: (text, model) => [text, newKey(), "", choice(model)],
    running: () => running,
    idle(shown) {
      running = false;
      attached = [];
      // A command may have left for another conversation.
      const id = (shown ?? "").replace(/\+$/, "");
      const address = new URL(location.href).searchParams.get("c");
      if (address && id && address !== id && !window.cmw.isSwitching?.()) setConversation(null);
      showEarlier((shown ?? "").endsWith("+"));
      window.cmw.changed?.();
      fire("idle");
      return update({ submit_btn: true, stop_btn: false });
    },
    // The server refused the message: nothing that was written is lost.
    restore() {
      running = false;
      window.cmw.detach?.(attached);
      attached = [];
      window.cmw.refresh?.();
      const value = [taken, box()?.value ?? ""].filter((text) => text.trim()).join("\n\n");
      return update({ value, submit_btn: true, stop_btn: false });
    },
    // The page may have asked for a conversation that is not there, or another's.
    opened(shown) {
      const id = shown.replace(/\+$/, ""); // marked where the page does not show the beginning
      showEarlier(id !== shown);
      document.body.classList.add("cmw-opened");
      if (new URL(location.href).searchParams.get("c") !== id) setConversation(null);
      window.cmw.refresh?.();
      fire("opened");
    },
    leave() {
      setConversation(null, "pushState");
      showEarlier(false);
      window.cmw.refresh?.();
      if (!WIDE.matches && sideIsOpen()) toggleSide();
      fire("opened");
      box()?.focus();
    },
  };

  /* What Gradio's components leave out: names for its icon buttons, the state of the
   * sidebar, examples that fill the box (a listener without a Python function is not told
   * which one was chosen), and an Enter that waits while an answer is being written. */
  function name(selector, label) {
    document.querySelector(selector)?.setAttribute("aria-label", label);
  }

  document.addEventListener("click", ({ target }) => {
    const example = target.closest?.("#cmw-chat .example")?.querySelector(".example-text");
    const input = box();
    if (!example || !input) return;
    input.value = example.textContent.trim();
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  });

  document.addEventListener("focusin", ({ target }) => {
    if (target.matches(".edit-textarea")) target.setAttribute("aria-label", "Edit message");
  });

  function nameParts() {
    name("#cmw-input textarea", "Message"); // or the label that wraps it adds the buttons' names
    name("#cmw-input [data-testid=submit-button]", "Send");
    name("#cmw-input [data-testid=stop-button]", "Stop");
  }

  function tellSide(side) {
    side.querySelector(".toggle-button")?.setAttribute("aria-expanded", String(sideIsOpen()));
  }

  function remember(open) {
    try {
      if (open) localStorage.removeItem(SIDE);
      else localStorage.setItem(SIDE, "closed");
    } catch { /* storage is refused: the sidebar opens anew each time */ }
  }

  function wasClosed() {
    try { return localStorage.getItem(SIDE) === "closed"; } catch { return false; }
  }

  mounted.then(({ input, side }) => {
    nameParts();
    new MutationObserver(nameParts).observe(input, { childList: true, subtree: true });
    input.addEventListener("keydown", (event) => {
      if (!running || event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      event.stopPropagation();
    }, true);
    tellSide(side);
    new MutationObserver(() => tellSide(side)).observe(side, { attributeFilter: ["class"] });
    if (WIDE.matches && !wasClosed()) toggleSide();
    side.querySelector(".toggle-button")?.addEventListener("click", (event) => {
      if (event.isTrusted && WIDE.matches) remember(!sideIsOpen());
    }, true);
  });
})();
