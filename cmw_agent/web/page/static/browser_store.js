/* What this browser stores for the page's user, and which of its tabs are open.
 *
 * Everything is stored under the user's opaque name, which the server gives: whoever signs in next
 * on this browser has another one. Where storage is refused, it lasts as long as the page. Nothing
 * of a temporary chat is stored.
 */
(() => {
  "use strict";
  const TAB = "cmw.tab";
  const PREFIX = "cmw.of."; // then the user's name, and what is stored
  const OLD_MS = 30 * 86_400_000;
  const GONE_MS = 10 * 60_000; // a tab that wrote nothing for so long counts as closed where none can be asked
  const KINDS = ["outbox", "drafts"];
  const TEMPORARY = "temporary:"; // begins the name of a temporary chat
  const memory = new Map(); // what cannot be stored
  const temporary = new Map(); // what waits in the page's temporary chat
  let user = null;
  let isOver = false;

  function newTab() {
    const made = window.cmw.newKey();
    try { sessionStorage.setItem(TAB, made); } catch { /* storage is refused */ }
    return made;
  }

  let tab = null;
  try { tab = sessionStorage.getItem(TAB); } catch { /* storage is refused */ }
  tab ??= newTab();

  // A tab holds a lock with its name while it is open. One that was duplicated has the name of the other.
  const claim = () => new Promise((resolve) => {
    if (!navigator.locks) { resolve(); return; }
    navigator.locks.request(`${TAB}.${tab}`, { ifAvailable: true }, (lock) => {
      if (!lock) tab = newTab();
      resolve(lock ? null : claim());
      return lock ? new Promise(() => {}) : null;
    }).catch(resolve);
  });

  // Deletes old drafts, those of this browser's other users too; messages that wait stay.
  function tidy() {
    for (const key of Object.keys(localStorage).filter((one) => one.startsWith(PREFIX) && one.endsWith(".drafts"))) {
      const items = JSON.parse(localStorage.getItem(key));
      localStorage.setItem(key, JSON.stringify(items.filter((item) => item.at > Date.now() - OLD_MS)));
    }
  }

  const ready = Promise.all([window.cmw.user(), claim()]).then(([name]) => {
    user = name;
    try { tidy(); } catch { /* storage is refused, or somebody else has written there */ }
  });

  const keyOf = (kind) => `${PREFIX}${user}.${kind}`;

  function readStored(kind) {
    const key = keyOf(kind);
    try {
      if (user && !memory.has(key)) return JSON.parse(localStorage.getItem(key)) ?? [];
    } catch { /* storage is refused, or somebody else has written there */ }
    return memory.get(key) ?? [];
  }

  function writeStored(kind, items) {
    if (isOver) return true;
    const key = keyOf(kind);
    memory.set(key, items);
    if (!user) return false;
    try {
      if (items.length) localStorage.setItem(key, JSON.stringify(items));
      else localStorage.removeItem(key);
      memory.delete(key);
      return true;
    } catch { return false; /* storage is refused or full */ }
  }

  const isTemporary = (chat) => chat.startsWith(TEMPORARY);

  const read = (kind) => [...readStored(kind), ...(temporary.get(kind) ?? [])];

  // Stores a list of items, each with its `conversation` and the time `at` of its last change; returns
  // whether it lasts as long as it should.
  function write(kind, items) {
    temporary.set(kind, items.filter((item) => isTemporary(item.conversation)));
    return writeStored(kind, items.filter((item) => !isTemporary(item.conversation)));
  }

  function clear() {
    for (const kind of KINDS) write(kind, []);
  }

  // The locks of open tabs; null where they cannot be asked.
  async function openTabs() {
    try {
      const { held } = await navigator.locks.query();
      return new Set(held.map((lock) => lock.name));
    } catch { return null; }
  }

  // Returns a function that tells whether the tab that an item is of was closed.
  async function closedTabs() {
    const open = await openTabs();
    return (item) => item.tab !== tab
      && (open ? !open.has(`${TAB}.${item.tab}`) : item.at < Date.now() - GONE_MS);
  }

  // In a tab whose user has signed out in another one, what is written lasts as long as the page.
  const signedOut = new BroadcastChannel("cmw.signed-out");
  signedOut.addEventListener("message", ({ data }) => {
    if (data === user) user = null;
  });

  window.cmw.store = {
    ready, read, write, closedTabs, isTemporary,
    // The chat that the page shows: a conversation's id, the name of a temporary chat, or "" for a new one.
    chat: () => window.cmw.temporaryChat() ?? window.cmw.conversation() ?? "",
    newTemporary: () => TEMPORARY + window.cmw.newKey(),
    endTemporary() { temporary.clear(); },
    tab: () => tab,
    clear,
    // At sign-out: nobody else may find here what the user has written.
    end() {
      clear();
      isOver = true;
      signedOut.postMessage(user); // oxlint-disable-line unicorn/require-post-message-target-origin (a channel has none)
    },
    isEmpty: () => KINDS.every((kind) => !read(kind).length),
  };
})();
