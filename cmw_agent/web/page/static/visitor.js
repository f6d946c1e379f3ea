/* Runs before Gradio's own script, in the page's head.
 *
 * Identity: where the browser refuses the visitor cookie (a frame on another site), the
 * server gives a signed token instead, which this script keeps for the tab and sends as a
 * header with each request to this app. Where the cookie works, no token exists at all.
 */
(() => {
  "use strict";
  const HEADER = "x-cmw-visitor";
  const TAB = "x-cmw-tab"; // the server tells this page what others do, and marks what it has done itself
  const PAGE = "x-cmw-page"; // whose page sends a request: the server refuses it for anybody else
  const LANGUAGE = "x-cmw-language"; // in which language the page is drawn
  const { tag, t, tn, number, date } = window.cmwLanguage;
  const base = new URL(".", document.baseURI);
  // Apps below other paths of this host have visitors of their own.
  const at = base.pathname === "/" ? "" : base.pathname;
  const KEY = `cmw.visitor${at}`;
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

  function newKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
  }

  const tab = newKey();
  let token = null;
  try { token = sessionStorage.getItem(KEY); } catch { /* storage is refused as well */ }

  let name = null; // opaque; what this browser stores for its user is stored under it
  let keys = null; // whether the user may bring a key for the model
  const known = realFetch(new URL(`visitor?at=${encodeURIComponent(base.href)}`, base), {
    headers: token ? { [HEADER]: token } : {},
    cache: "no-store",
  }).then((answer) => answer.json()).then((visit) => {
    ({ token, name, keys } = visit);
    if (visit.mistake) mounted.then(({ main }) => showMistake(main, visit.mistake));
    mounted.then(({ main }) => showVisitNote(main, visit));
    let stored = false;
    try {
      if (token) sessionStorage.setItem(KEY, token);
      else sessionStorage.removeItem(KEY);
      stored = true;
    } catch { /* the token lasts as long as the page, then */ }
    if (token) mounted.then(({ main }) => showFrameNote(main, stored));
  }).catch(() => { /* the page works as far as the cookie carries it */ });

  // The headers of a request to this app, with those that say whose page sends it.
  async function headersOf(given) {
    await known;
    const headers = new Headers(given);
    headers.set(TAB, tab);
    headers.set(LANGUAGE, tag);
    if (token) headers.set(HEADER, token);
    if (name) headers.set(PAGE, name);
    return headers;
  }

  window.fetch = async (input, options) => {
    const url = new URL(input instanceof Request ? input.url : String(input), document.baseURI);
    if (url.origin !== base.origin) return realFetch(input, options);
    const headers = await headersOf(options?.headers ?? (input instanceof Request ? input.headers : undefined));
    return realFetch(input, { ...options, headers });
  };

  const LAST = `cmw.visit${at}`; // whose page this browser has opened last
  const GONE = t("The cookie of your earlier visit has gone from this browser, so this is a new visit: "
    + "your earlier chats cannot be shown here.");
  const ENDED = t("You are not signed in any more, so your chats are not shown; sign in to see them.");

  // Without this, a user whose cookie has gone would see an empty history and not know why.
  function showVisitNote(main, visit) {
    let last = null;
    try {
      last = JSON.parse(localStorage.getItem(LAST));
      if (name) localStorage.setItem(LAST, JSON.stringify({ name, account: visit.account }));
    } catch { return; /* storage is refused: there is nothing to compare with */ }
    if (!last || last.name === name || visit.account) return;
    const note = document.createElement("div");
    note.id = "cmw-visit-note";
    note.setAttribute("role", "note");
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = t("OK");
    close.addEventListener("click", () => note.remove());
    note.append(last.account ? ENDED : GONE, " ", close);
    main.querySelector("#cmw-head").after(note);
  }

  // What the operator must change about a proxy.
  function showMistake(main, sentence) {
    const note = document.createElement("div");
    note.id = "cmw-mistake";
    note.setAttribute("role", "alert");
    note.textContent = sentence;
    main.prepend(note);
  }

  function showFrameNote(main, stored) {
    const note = document.createElement("div");
    note.id = "cmw-frame-note";
    note.setAttribute("role", "note");
    const link = document.createElement("a");
    link.href = base.href; // not this conversation's: in its own tab it is another visitor's
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = t("Open the page in a tab of its own to keep them");
    const lasting = stored
      ? t("Your browser keeps no cookie for this page here, so your chats last as long as this tab.")
      : t("Your browser keeps no cookie for this page here, so your chats last until this page is reloaded or left.");
    note.append(lasting, " ", link);
    main.prepend(note);
  }

  /* What the page's events do in the browser alone. */
  let running = false;
  let isLeft = false; // the page has gone to another chat than the one that its last event was for
  let isOpening = true; // the conversation that the address names is still to come
  let written = null; // the conversation in which an answer is being written that the page has not joined yet

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

  // What the server writes after a conversation's id: "+" where the page does not show its
  // beginning, "*" where an answer is being written.
  const bare = (shown) => (shown ?? "").replace(/[+*]+$/, "");

  const box = () => document.querySelector("#cmw-input textarea");

  const choice = (model) => window.cmw.choice?.(model) ?? model;

  function setRunning(on) {
    running = on;
    document.body.classList.toggle("cmw-running", on);
    fire("running", on);
  }

  function begin() {
    isLeft = false;
    setRunning(true);
    fire("busy");
  }

  // Shows the answer that is being written in the page's conversation, as it grows. That of the
  // conversation which the page has left ends on the page first.
  function join() {
    if (running) return;
    written = null;
    begin(); // messages that wait are sent behind it
    document.querySelector("#cmw-join")?.click();
  }

  function joinWritten() {
    if (written && !isOpening && written === window.cmw.conversation()) join();
  }

  // Joins the answer that is being written in a conversation once the page shows that one and is idle.
  function joinIn(id) {
    written = id;
    joinWritten();
  }

  const fire = (event, detail) => document.dispatchEvent(new CustomEvent(`cmw:${event}`, { detail }));

  // The page's address names another chat now, or a new one; its messages are still to come.
  function leaving() {
    isLeft = isOpening = true;
    written = null;
    fire("leaving");
  }

  window.cmw = {
    // The page's language: texts of the catalogue, numbers and dates.
    language: tag, t, tn, number, date,
    // The name of the page's user in this browser, once it is known; null where nothing lasts.
    user: () => known.then(() => name),
    // What of keys for the model: null where none are taken.
    keys: () => known.then(() => keys),
    // The user has signed out: that is no cookie that has gone.
    signedOut() { try { localStorage.removeItem(LAST); } catch { /* nothing is stored */ } },
    // The key makes it harmless to send the same message twice.
    newKey,
    headersOf,
    box,
    fire,
    setConversation,
    running: () => running,
    isLeft: () => isLeft,
    // An answer begins: to a message, to an old one once more, or to a button's text.
    busy: begin,
    joinIn,
    // A button below an answer was pressed: its text is sent, and what stands in the box stays.
    say: (text, model) => [text, window.cmw.messageKey(), "", choice(model)],
    idle(shown) {
      setRunning(false);
      // A command may have left for another conversation.
      const id = bare(shown);
      const address = new URL(location.href).searchParams.get("c");
      const hasLeft = address && id && address !== id && !isLeft;
      if (hasLeft) setConversation(null);
      if (shown && !isLeft) showEarlier(shown.includes("+"));
      window.cmw.refresh?.();
      joinWritten();
      fire(hasLeft ? "opened" : "idle", shown !== null);
    },
    // The page may have asked for a conversation that is not there, or another's.
    opened(shown) {
      const id = bare(shown);
      showEarlier(shown.includes("+"));
      document.body.classList.add("cmw-opened");
      if (new URL(location.href).searchParams.get("c") !== id) setConversation(null);
      window.cmw.refresh?.();
      isOpening = false;
      if (shown.endsWith("*")) written = id;
      joinWritten();
      fire("opened");
    },
    leaving,
    leave() {
      setConversation(null, "pushState");
      leaving();
      isOpening = false;
      showEarlier(false);
      window.cmw.refresh?.();
      fire("opened");
      box()?.focus();
    },
  };

  /* What Gradio's components leave out: names for its icon buttons. */
  function label(selector, text) {
    document.querySelector(selector)?.setAttribute("aria-label", text);
  }

  function nameParts() {
    label("#cmw-input textarea", t("Message")); // or the label that wraps it adds the buttons' names
    label("#cmw-input [data-testid=submit-button]", t("Send"));
    label("#cmw-input [data-testid=stop-button]", t("Stop"));
  }

  mounted.then(({ input }) => {
    nameParts();
    new MutationObserver(nameParts).observe(input, { childList: true, subtree: true });
  });
})();
