/* The order of the sidebar's list: pinned conversations, folders, the archive.
 *
 * history.js draws the rows and sends the changes. Names are put in as text, never as HTML.
 */
(() => {
  "use strict";
  const { make, ask, t, language } = window.cmw;
  const folded = new Set(); // names of folders that the user has closed

  const rows = (label, items, entry) => make("ul", { className: "cmw-recent", "aria-label": label },
    ...items.map(entry));

  function folder(name, items, entry) {
    const group = make("details", { className: "cmw-folder", open: !folded.has(name) },
      make("summary", {}, name), rows(name, items, entry));
    group.addEventListener("toggle", () => { folded[group.open ? "delete" : "add"](name); });
    return group;
  }

  function drawn(items, entry) {
    const pinned = items.filter((item) => item.pinned);
    const filed = (name) => items.filter((item) => !item.pinned && item.folder === name);
    const names = [...new Set(items.map((item) => item.folder).filter(Boolean))].toSorted((a, b) => a.localeCompare(b, language));
    document.getElementById("cmw-folders")?.replaceChildren(...names.map((name) => make("option", { value: name })));
    return [
      ...(pinned.length ? [make("div", { className: "cmw-label" }, t("Pinned")), rows(t("Pinned"), pinned, entry)] : []),
      ...names.filter((name) => filed(name).length).map((name) => folder(name, filed(name), entry)),
    ];
  }

  // A button that adds the pages that follow, for as long as there are any.
  function pager(label, section, guarded, first, add) {
    let cursor = first;
    const more = make("button", { type: "button", className: "cmw-wide", hidden: !cursor }, label);
    more.addEventListener("click", guarded(async () => {
      const page = await ask(`history?section=${section}&before=${encodeURIComponent(cursor)}`);
      cursor = page.next;
      more.hidden = !cursor;
      add(page.conversations);
    }));
    return more;
  }

  // Returns what stands above the days: `page` is the first one, `entry` makes a row.
  window.cmw.arranged = (page, entry, guarded) => {
    let items = page.conversations;
    const section = make("div", { className: "cmw-arranged" });
    const more = pager(t("Show more of these"), "arranged", guarded, page.next, (further) => {
      items = [...items, ...further];
      draw();
    });
    const draw = () => section.replaceChildren(...drawn(items, entry), more);
    draw();
    return section;
  };

  // Returns the archive, which is read when it is opened.
  window.cmw.archive = (entry, guarded) => {
    const list = make("nav", { "aria-label": t("Archived conversations") });
    const section = make("details", { className: "cmw-folder cmw-archive" }, make("summary", {}, t("Archived")), list);
    const refresh = guarded(async () => {
      if (!section.open) return;
      const page = await ask("history?section=archived");
      const all = rows(t("Archived"), page.conversations, entry);
      const more = pager(t("Show more of the archive"), "archived", guarded, page.next,
        (further) => all.append(...further.map(entry)));
      const none = make("p", { className: "cmw-empty" }, t("Nothing is archived."));
      list.replaceChildren(...(page.conversations.length ? [all, more] : [none]));
    });
    section.addEventListener("toggle", refresh);
    return { section, refresh };
  };

  // Returns the items of a conversation's menu; `arrange` stores a change, `file` asks for a folder.
  window.cmw.arranging = (item, act, arrange, file) => {
    const { title, pinned, archived, folder: name } = item;
    return [
      act(pinned ? t("Unpin") : t("Pin"), () => arrange(item, { pinned: !pinned })),
      act(t("Move to a folder…"), file),
      ...(name ? [act(t("Take out of {name}", { name }), () => arrange(item, { folder: "" }))] : []),
      archived
        ? act(t("Take out of the archive"), () => arrange(item, { archived: false }))
        : act(t("Archive"), () => arrange(item, { archived: true }, t("“{title}” was archived.", { title }), { archived: false })),
    ];
  };
})();
