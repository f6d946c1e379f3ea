/* What this browser stores for the page's user, and which of its tabs are open.
 *
 * Everything is stored under the user's opaque name, which the server gives: whoever signs in next
 * on this browser has another one. Where storage is refused, it lasts as long as the page. Nothing
 * of a temporary chat is stored.
 *
 * Each item has an entry of its own: tabs write at the same time, and the browser's storage has no
 * transactions, so one tab's list would undo what another one has just added.
 */
(() => {
  "use strict";
  const TAB = "cmw.tab";
  const PREFIX = "cmw.of."; // then the user's name, what is stored, and the item's own name
  const LIST = /^cmw\.of\.[^.]+\.(outbox|drafts)$/; // a list of items, as it was stored once
  const OLD_MS = 30 * 86_400_000;
  const GONE_MS = 10 * 60_000; // a tab that wrote nothing for so long counts as closed where none can be asked
  const KINDS = ["outbox", "drafts"];
  const TEMPORARY = "temporary:"; // begins the name of a temporary chat
  const memory = new Map(); // items that cannot be stored
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

  const idOf = (item) => item.key ?? `${item.tab}.${item.conversation}`;

  // Gives each item of an old list an entry of its own.
  function split(key) {
    JSON.parse(localStorage.getItem(key)).forEach((item, index) => {
      localStorage.setItem(`${key}.${idOf(item)}`, JSON.stringify({ rank: index, ...item }));
    });
    localStorage.removeItem(key);
  }

  // Deletes old drafts, those of this browser's other users too; messages that wait stay.
  function tidy() {
    for (const key of Object.keys(localStorage).filter((one) => LIST.test(one))) split(key);
    for (const key of Object.keys(localStorage).filter((one) => one.startsWith(PREFIX) && one.includes(".drafts."))) {
      if (JSON.parse(localStorage.getItem(key)).at < Date.now() - OLD_MS) localStorage.removeItem(key);
    }
  }

  const ready = Promise.all([window.cmw.user(), claim()]).then(([name]) => {
    user = name;
    try { tidy(); } catch { /* storage is refused, or somebody else has written there */ }
  });

  const startOf = (kind) => `${PREFIX}${user}.${kind}.`;

  // The stored texts of items, by their entries' keys.
  function entries(kind) {
    const found = new Map();
    if (!user) return found;
    try {
      for (const key of Object.keys(localStorage)) {
        if (key.startsWith(startOf(kind))) found.set(key, localStorage.getItem(key));
      }
    } catch { /* storage is refused */ }
    return found;
  }

  function readStored(kind) {
    const found = new Map();
    for (const [key, text] of entries(kind)) {
      try { found.set(key, JSON.parse(text)); } catch { /* somebody else has written there */ }
    }
    for (const [key, item] of memory) if (key.startsWith(startOf(kind))) found.set(key, item);
    return [...found.values()]
      .toSorted((one, other) => one.rank - other.rank);
  }

  function put(key, item, stored) {
    const text = JSON.stringify(item);
    if (text === stored) return;
    memory.set(key, item);
    try {
      if (!user) return;
      localStorage.setItem(key, text);
      memory.delete(key);
    } catch { /* storage is refused or full */ }
  }

  function remove(key) {
    memory.delete(key);
    try { localStorage.removeItem(key); } catch { /* storage is refused */ }
  }

  // Items keep their order by their ranks.
  function order(items) {
    items.forEach((item, index) => {
      const [before, after] = [items[index - 1], items.slice(index).find((one) => one.rank)];
      if (item.rank === undefined) item.rank = before || !after ? Math.max(Date.now(), (before?.rank ?? 0) + 1) : after.rank - 1;
    });
  }

  function writeStored(kind, items) {
    if (isOver) return true;
    order(items);
    const wanted = new Map(items.map((item) => [startOf(kind) + idOf(item), item]));
    const stored = entries(kind);
    const present = [...stored.keys(), ...[...memory.keys()].filter((key) => key.startsWith(startOf(kind)))];
    for (const key of present) if (!wanted.has(key)) remove(key);
    for (const [key, item] of wanted) put(key, item, stored.get(key));
    return Boolean(user) && ![...wanted.keys()].some((key) => memory.has(key));
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

  // Returns a function that tells whether the tab that an item is of was closed. What is written later
  // may be of a tab that is opened later.
  async function closedTabs() {
    const now = Date.now();
    const open = await openTabs();
    return (item) => item.tab !== tab && item.at <= now
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
