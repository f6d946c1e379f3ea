/* Switches between conversations without loading the page again, and shows what a search has found.
 *
 * The browser's history has an entry for each conversation; the server is asked for the one that the
 * address names. A link that is opened in a new tab is an ordinary one.
 */
(() => {
  "use strict";
  const { cmw } = window;
  const HELD_MS = 1_500; // for so long what stands above may still change its height
  const RETRY_MS = 2_000; // where the server takes nothing now
  const named = () => {
    const { searchParams } = new URL(location.href);
    return `${searchParams.get("c") ?? ""} ${searchParams.get("at") ?? ""}`;
  };
  let shown = null; // what the address named when the page last changed
  let asked = null; // what the server is opening
  let words = ""; // of the search whose hit is opened

  // One after the other: what is named meanwhile is opened next.
  function open() {
    if (asked !== null || cmw.isLost()) return; // once the connection is back, the page is opened again
    asked = named();
    document.getElementById("cmw-switch").click();
  }

  function leave() {
    shown = named();
    cmw.leaving();
    cmw.whenSent(open);
  }

  function go(address) {
    cmw.whenSent(() => {
      if (cmw.isLost()) return; // the page says so
      history.pushState(null, "", address);
      leave();
    });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#cmw-recent a[href^='?c='], #cmw-outbox a");
    const isPlain = !event.button && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain) return;
    event.preventDefault();
    words = document.getElementById("cmw-search")?.value ?? "";
    go(link.href);
  });
  addEventListener("popstate", () => {
    if (named() !== shown) leave();
  });

  cmw.go = go;
  cmw.switched = (id, model, effort, at) => {
    if (asked === null) return; // the connection was lost meanwhile
    const isLate = asked !== named() && cmw.temporaryChat() === null;
    asked = null;
    if (isLate) {
      open();
      return;
    }
    cmw.opened(id, model, effort);
    if (at) show(Number(at));
  };
  // The server has said why. What is written now goes to the conversation that the address names.
  cmw.notSwitched = () => {
    asked = null;
    cmw.fire("opened");
  };
  document.addEventListener("cmw:lost", () => { asked = null; });
  document.addEventListener("cmw:unsent", ({ detail: { data, seconds } }) => {
    if (asked === null || data.length) return;
    asked = null;
    setTimeout(open, Math.max(seconds * 1_000, RETRY_MS));
  });
  document.addEventListener("cmw:idle", () => { shown = named(); });
  document.addEventListener("cmw:opened", () => {
    const isFirst = shown === null;
    shown = named();
    // The conversation has come with the page; the message that its address may name has not.
    if (isFirst && new URL(location.href).searchParams.has("at")) leave();
  });

  /* -- the message that was found -- */

  function show(seq) {
    const row = cmw.pane.rowOf(seq);
    if (!row) return;
    for (const old of document.querySelectorAll(".cmw-hit")) old.classList.remove("cmw-hit");
    row.classList.add("cmw-hit");
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    highlight(row);
    hold(row);
  }

  // Keeps the message in view until the user moves, or all is in its place.
  function hold(row) {
    const since = performance.now();
    let isHeld = true;
    const free = () => { isHeld = false; };
    for (const name of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      addEventListener(name, free, { once: true, passive: true });
    }
    const keep = () => {
      if (!isHeld || !row.isConnected) return;
      row.scrollIntoView({ block: "center", behavior: "instant" });
      if (performance.now() - since < HELD_MS) setTimeout(keep, 100);
    };
    keep();
  }

  // Marks the words themselves where the browser can do so without changing the message.
  function highlight(found) {
    const parts = words.match(/[\p{L}\p{N}_]+/gu);
    if (!window.Highlight || !CSS.highlights) return;
    CSS.highlights.delete("cmw-hit");
    if (!parts) return;
    const pattern = new RegExp(`(?<![\\p{L}\\p{N}_])(?:${parts.join("|")})`, "giu");
    const walker = document.createTreeWalker(found, NodeFilter.SHOW_TEXT);
    const ranges = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      for (const match of node.data.matchAll(pattern)) {
        const range = new Range();
        range.setStart(node, match.index);
        range.setEnd(node, match.index + match[0].length);
        ranges.push(range);
      }
    }
    CSS.highlights.set("cmw-hit", new Highlight(...ranges));
  }
})();
