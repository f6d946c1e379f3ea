/* The sidebar's list of one's own conversations: by day, searched, renamed, deleted, saved.
 *
 * Everything is asked from the server's /history routes, which look at the caller's own alone;
 * titles and snippets are put in as text, never as HTML.
 */
(() => {
  "use strict";
  const { box, make, ask, store, conversation: current, t, date } = window.cmw;
  const base = new URL(".", document.baseURI);
  const UNDO_MS = 10_000;
  const SEARCH_MS = 200;
  const UNSENT = t("Sign out? What you have written and not sent is deleted from this browser.");
  const LEFT = t("Sign in? What you have written and not sent stays with this visit, and is not shown after it.");
  const SOON_MS = 1_000;
  const MAX_NAMING = 25; // seconds that a title may take
  let root, list, more, status, search, account, archive, imports;
  let naming = 0;
  let cursor = null;
  let asked = 0; // answers to older questions are dropped
  let shownFor = null;
  let canShare = false;

  function tell(text, action) {
    status.replaceChildren(text, ...(action ? [" ", action] : []));
    status.hidden = false;
    clearTimeout(tell.timer);
    tell.timer = setTimeout(() => { status.hidden = true; }, UNDO_MS);
  }

  const guarded = (work) => async (...given) => {
    try { await work(...given); } catch (error) { tell(error.message); }
  };

  /* -- the list -- */

  function dayOf(iso) {
    const day = new Date(iso);
    day.setHours(0, 0, 0, 0);
    const today = new Date();
    today.setHours(0, 0, 0, 0);
    const days = Math.round((today - day) / 86_400_000);
    if (days <= 0) return t("Today");
    if (days === 1) return t("Yesterday");
    if (days < 7) return date(day, { weekday: "long" });
    return date(day, { day: "numeric", month: "long", year: "numeric" });
  }

  function entry(item) {
    const at = item.seq ? `&at=${item.seq}` : ""; // the message that a search has found
    const link = make("a", { href: `?c=${encodeURIComponent(item.id)}${at}`, title: item.title });
    link.append(make("span", { className: "cmw-title" }, item.title || t("Untitled")));
    if (item.snippet) link.append(make("span", { className: "cmw-snippet" }, item.snippet));
    if (item.id === current()) link.setAttribute("aria-current", "page");
    const open = make("button", {
      type: "button", className: "cmw-more", "aria-label": t("Actions for {title}", { title: item.title }),
      "aria-haspopup": "menu", "aria-expanded": "false",
    }, "⋯");
    if (window.cmw.isReady?.(item.id)) link.append(make("span", { className: "cmw-snippet" }, t("Answer ready")));
    if (item.archived && query()) link.append(make("span", { className: "cmw-snippet" }, t("In the archive")));
    const row = make("li", {}, link, open);
    row.dataset.id = item.id;
    open.addEventListener("click", () => menu(row, open, item));
    return row;
  }

  const query = () => search.value.trim();

  // A list that is drawn anew would take away a menu, a field or a button that is being used.
  const isBusy = () => Boolean(root.querySelector(".cmw-menu, li input, li :active"));

  function append(items) {
    for (const item of items) {
      const day = dayOf(item.at);
      if (shownFor !== day) {
        shownFor = day;
        list.append(make("div", { className: "cmw-label" }, day),
                    make("ul", { className: "cmw-recent", "aria-label": day }));
      }
      list.lastElementChild.append(entry(item));
    }
  }

  function refreshSoon() {
    clearTimeout(refreshSoon.timer);
    refreshSoon.timer = setTimeout(refresh, SOON_MS);
  }

  const refresh = guarded(async () => {
    if (!root) return;
    if (isBusy()) {
      refreshSoon();
      return;
    }
    const mine = ++asked;
    const wanted = query();
    const content = wanted
      ? { conversations: (await ask(`history/search?q=${encodeURIComponent(wanted)}`)).found, next: null }
      : await ask("history");
    if (mine !== asked) return;
    if (isBusy()) {
      refreshSoon();
      return;
    }
    const active = document.activeElement;
    const focused = active?.closest?.("#cmw-recent li")?.dataset.id;
    const kind = active?.tagName === "A" ? "a" : ".cmw-more";
    list.replaceChildren();
    shownFor = null;
    cursor = content.next;
    if (!wanted) list.append(window.cmw.arranged(content.arranged, entry, guarded));
    if (wanted) {
      list.append(make("div", { className: "cmw-label" }, t("Found")), make("ul", { className: "cmw-recent" }));
      list.lastElementChild.append(...content.conversations.map(entry));
    } else append(content.conversations);
    if (!content.conversations.length && !content.arranged?.conversations.length) {
      list.replaceChildren(make("p", { className: "cmw-empty" }, wanted
        ? t("Nothing was found.") : t("Your conversations will be listed here.")));
    }
    more.hidden = !cursor;
    archive.refresh();
    if (focused) root.querySelector(`li[data-id="${CSS.escape(focused)}"] ${kind}`)?.focus();
    window.cmw.fire("listed", [...content.conversations, ...(content.arranged?.conversations ?? [])]);
    if (wanted) return;
    canShare = content.shares;
    imports.show(content.importing);
    showAccount(content.account);
    window.cmw.setAgents?.(content.agents);
    window.cmw.offers({ connections: content.connections, shares: content.shares });
    // The model is at a title: it comes within seconds, or not at all.
    naming = content.naming ? naming + 1 : 0;
    if (naming && naming < MAX_NAMING) refreshSoon();
  });

  function showAccount(found) {
    account.hidden = !found;
    if (!found) return;
    if (!found.signed_in) {
      const link = make("a", { className: "cmw-sign-in" }, t("Sign in"));
      // Which conversation the page is at may change between this drawing and the click.
      const aim = () => {
        link.href = `login?next=${encodeURIComponent(location.pathname + location.search)}`;
      };
      aim();
      link.addEventListener("click", (event) => {
        aim();
        if (!store.isEmpty() && !confirm(LEFT)) event.preventDefault();
      });
      account.replaceChildren(link);
      return;
    }
    const leave = make("button", { type: "button" }, t("Sign out"));
    leave.addEventListener("click", guarded(async () => {
      if (!store.isEmpty() && !confirm(UNSENT)) return;
      await ask("logout", {});
      store.end();
      window.cmw.signedOut();
      location.assign(base);
    }));
    account.replaceChildren(make("div", {},
      make("span", {}, found.name ? t("Signed in as {name}", { name: found.name }) : t("Signed in")), leave));
  }

  const showMore = guarded(async () => {
    const content = await ask(`history?before=${encodeURIComponent(cursor)}`);
    cursor = content.next;
    append(content.conversations);
    more.hidden = !cursor;
  });

  /* -- what can be done with one -- */

  function closeMenus() {
    for (const shown of root.querySelectorAll(".cmw-menu")) shown.remove();
    for (const open of root.querySelectorAll(".cmw-more")) open.setAttribute("aria-expanded", "false");
  }

  function menu(row, open, item) {
    const again = row.querySelector(".cmw-menu");
    closeMenus();
    if (again) return;
    const act = (label, work) => {
      const button = make("button", { type: "button", role: "menuitem" }, label);
      button.addEventListener("click", () => { closeMenus(); open.focus(); work(); });
      return button;
    };
    // What is data has all versions in it; what is to be read has what is shown.
    const save = (format, options = "") => () => download(
      `history/export?id=${encodeURIComponent(item.id)}&format=${format}${options}`);
    const made = make("div", { className: "cmw-menu", role: "menu", "aria-label": t("Actions for {title}", { title: item.title }) },
      act(t("Rename"), () => rename(row, item)),
      ...window.cmw.arranging(item, act, arrange, () => file(row, item)),
      ...(canShare ? [act(t("Share…"), () => window.cmw.share(item))] : []),
      act(t("Save as Markdown"), save("md")),
      act(t("Save as JSON"), save("json", "&versions=all&thinking=1")),
      act(t("Save as HTML"), save("html")),
      act(t("Save with files"), save("zip", "&versions=all&thinking=1")),
      act(t("Delete"), () => remove(item)));
    made.lastElementChild.className = "cmw-danger";
    open.setAttribute("aria-expanded", "true");
    row.append(made);
    window.cmw.showMenu(made, open, closeMenus);
  }

  // Edits a text of a row in its place; `save` is given what was written.
  function edit(row, props, save, suggestions) {
    const input = make("input", { maxLength: 60, ...props });
    if (suggestions) input.setAttribute("list", suggestions);
    const link = row.querySelector("a");
    link.replaceWith(input);
    input.focus();
    input.select();
    let done = false;
    const finish = guarded(async (keep) => {
      if (done) return;
      done = true;
      const isHere = document.activeElement === input;
      input.replaceWith(link);
      if (isHere) row.querySelector(".cmw-more").focus();
      try {
        if (keep && input.value !== props.value) await save(input.value);
      } finally { refresh(); }
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault(); // or it would press the button that gets the focus
      event.stopPropagation();
      finish(event.key === "Enter");
    });
    input.addEventListener("blur", () => finish(true));
  }

  const rename = (row, item) => edit(row, { value: item.title, "aria-label": t("Title") },
    async (title) => { if (title.trim()) await ask("history/rename", { id: item.id, title }); });

  const file = (row, item) => edit(row,
    { value: item.folder ?? "", "aria-label": t("Folder"), placeholder: t("Folder") },
    (folder) => ask("history/arrange", { id: item.id, folder }), "cmw-folders");

  const arrange = guarded(async (item, change, note, undo) => {
    await ask("history/arrange", { id: item.id, ...change });
    if (note) {
      const button = make("button", { type: "button" }, t("Undo"));
      button.addEventListener("click", () => { status.hidden = true; arrange(item, undo); });
      tell(note, button);
    }
    refresh();
  });

  const remove = guarded(async (item) => {
    const here = item.id === current();
    const rows = [...root.querySelectorAll("li[data-id]")];
    const at = rows.findIndex((row) => row.dataset.id === item.id);
    await ask("history/delete", { id: item.id });
    const undo = make("button", { type: "button" }, t("Undo"));
    const note = t("“{title}” was deleted.", { title: item.title });
    // The new chat closes the drawer, and what it says with it.
    const isHidden = here && window.cmw.side.isDrawer();
    if (isHidden) document.addEventListener("cmw:opened", () => window.cmw.notice(note, false, undo), { once: true });
    if (here) document.querySelector("#cmw-new")?.click();
    // The row goes: the focus goes to the one that follows, or to the search.
    else (rows[at + 1] ?? rows[at - 1])?.querySelector("a").focus();
    if (!here && rows.length < 2) search.focus();
    undo.addEventListener("click", guarded(async () => {
      await ask("history/restore", { id: item.id });
      // The button that was pressed goes; what follows is written there.
      if (status.contains(document.activeElement)) box()?.focus();
      status.hidden = true;
      if (here) window.cmw.go(`?c=${encodeURIComponent(item.id)}`);
      else refresh();
    }));
    if (!isHidden) tell(note, undo);
    refresh();
  });

  const download = guarded(async (path) => {
    const answer = await fetch(new URL(path, base), { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || t("That did not work; please try again."));
    const named = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") || "");
    const url = URL.createObjectURL(await answer.blob());
    const link = make("a", { href: url, download: named ? decodeURIComponent(named[1]) : t("chat") });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1_000);
  });

  /* -- building it -- */

  function build(place) {
    search = make("input", { type: "search", id: "cmw-search", placeholder: t("Search…"), "aria-label": t("Search conversations") });
    list = make("nav", { "aria-label": t("Recent conversations") });
    more = make("button", { type: "button", className: "cmw-wide", hidden: true }, t("Show more"));
    status = make("div", { className: "cmw-status", role: "status", hidden: true });
    account = make("div", { className: "cmw-account", hidden: true });
    archive = window.cmw.archive(entry, guarded);
    imports = window.cmw.importing(() => refresh());
    root = make("div", { className: "cmw-history" }, search, status, imports.panel, list, more, archive.section,
      make("datalist", { id: "cmw-folders" }),
      make("div", { className: "cmw-side-end" }, account, window.cmw.settingsButton()));
    place.replaceWith(root);
    let timer;
    search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(refresh, SEARCH_MS); });
    more.addEventListener("click", showMore);
    document.addEventListener("click", (event) => {
      if (!event.target.closest?.(".cmw-more, .cmw-menu")) closeMenus();
    });
    refresh();
  }

  window.cmw.importParts = () => imports.parts; // the button, for the settings
  window.cmw.showImportIn = (host) => { // null for its own place in the sidebar
    if (host) host.append(imports.panel);
    else status.after(imports.panel);
  };
  window.cmw.download = download;
  window.cmw.refresh = refresh;
  window.cmw.isListed = (id) => Boolean(root?.querySelector(`li[data-id="${CSS.escape(id)}"]`));
  const look = () => {
    const place = document.getElementById("cmw-history");
    if (place) { watch.disconnect(); build(place); }
  };
  const watch = new MutationObserver(look);
  watch.observe(document.documentElement, { childList: true, subtree: true });
  look();
})();
