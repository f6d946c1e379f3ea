/* Sections of the settings that show what is one's own: data, recurring tasks, shared links, usage. */
(() => {
  "use strict";
  const { make, ask, store, conversation } = window.cmw;
  const base = new URL(".", document.baseURI);
  const WORD = "DELETE";
  const number = new Intl.NumberFormat("en");
  const time = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
  const day = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
  const button = (label, props = {}) => make("button", { type: "button", ...props }, label);
  const statusLine = () => make("div", { className: "cmw-status", role: "status", hidden: true });
  const tellIn = (status) => (text) => { status.textContent = text; status.hidden = !text; };

  /* -- data -- */

  function forgetting(status) {
    const tell = tellIn(status);
    const field = make("input", { type: "text", autocomplete: "off", "aria-label": `Type ${WORD} to confirm` });
    const sure = button("Delete everything", { className: "cmw-danger", disabled: true });
    field.addEventListener("input", () => { sure.disabled = field.value.trim() !== WORD; });
    sure.addEventListener("click", async () => {
      sure.disabled = true;
      try {
        const { deleted } = await ask("history/forget", { sure: true });
        store.clear();
        document.getElementById("cmw-new")?.click();
        field.value = "";
        tell(deleted === 1 ? "1 conversation was deleted." : `${deleted} conversations were deleted.`);
        window.cmw.refresh();
      } catch (error) { tell(error.message); }
      field.focus();
    });
    return make("div", { className: "cmw-danger-zone" },
      make("h3", {}, "Delete everything"),
      make("p", {}, "Deletes all of your conversations with their files, shared links and recurring tasks for good, and what "
        + "you have written and not sent in this browser. Nobody can bring them back."),
      make("label", {}, "Type ", make("strong", {}, WORD), " to confirm ", field), sure);
  }

  window.cmw.addSettings("data", "My data", (host) => {
    const status = statusLine();
    const importing = make("div", { className: "cmw-dialog-row" }, ...window.cmw.importParts());
    const everything = button("Download everything");
    everything.addEventListener("click", () => window.cmw.download("history/everything?format=zip&thinking=1&versions=all"));
    host.append(
      make("h3", {}, "Your conversations"),
      make("p", {}, "A ZIP archive with all conversations and their files; it can be imported again."),
      make("div", { className: "cmw-dialog-row" }, everything),
      make("p", {}, "Conversations of ChatGPT, Claude, Open WebUI or this app can be brought along."),
      importing, status, forgetting(status));
    // While the dialog is open, how far an import is stands in it, and not behind it.
    host.closest("dialog").addEventListener("close", () => window.cmw.showImportIn(null));
    return () => window.cmw.showImportIn(importing);
  });

  /* -- recurring tasks -- */

  function rows(host, items, entry, none) {
    host.replaceChildren(...(items.length ? items.map(entry) : [make("li", { className: "cmw-empty" }, none)]));
  }

  // A row with a button that ends what it shows; the focus goes to the next one.
  function endable(parts, label, list, status, end) {
    const off = button(label);
    const row = make("li", {}, make("div", {}, ...parts), off);
    off.addEventListener("click", async () => {
      off.disabled = true;
      try {
        await end();
        const next = row.nextElementSibling ?? row.previousElementSibling;
        row.remove();
        (next?.querySelector("button") ?? list).focus();
      } catch (error) {
        off.disabled = false;
        tellIn(status)(error.message);
      }
    });
    return row;
  }

  function listed(host, title, about, path, read) {
    const list = make("ul", { className: "cmw-own-list", "aria-label": title, tabIndex: -1 });
    const status = statusLine();
    host.append(make("h3", {}, title), make("p", {}, about), status, list);
    return async () => {
      tellIn(status)("");
      try { read(await ask(path), list, status); } catch (error) { tellIn(status)(error.message); }
    };
  }

  window.cmw.addSettings("schedules", "Recurring tasks", (host) => listed(host, "Recurring tasks",
    "Write “/schedule every day at 9: …” in a chat to add one.", "schedules", ({ schedules }, list, status) => {
      rows(list, schedules, (item) => endable(
        [make("strong", {}, item.text), make("small", {}, `${item.when} · ${item.stopped ? "stopped after too many failures" : `next ${time.format(new Date(item.next))}`}`)],
        "Cancel", list, status, () => ask("schedules/cancel", { id: item.id })), "You have no recurring tasks.");
    }));

  /* -- shared links -- */

  window.cmw.addSettings("shares", "Shared links", (host) => listed(host, "Shared links",
    "Whoever has one of these links can read the copy of the chat that it shows.", "shares", ({ shares }, list, status) => {
      rows(list, shares, (share) => endable([
        make("a", { href: new URL(share.path, base).href, target: "_blank", rel: "noopener" }, share.title || "Shared chat"),
        make("small", {}, `Made on ${day.format(new Date(share.created_at))}; ends `
          + `${share.expires_at ? `on ${day.format(new Date(share.expires_at))}` : "never"}.`),
      ], "End link", list, status, () => ask("shares/revoke", { id: share.id })), "You share nothing by a link.");
    }), false);

  /* -- usage -- */

  window.cmw.addSettings("usage", "Use and costs", (host) => {
    const table = make("table", { className: "cmw-usage" });
    host.append(make("h3", {}, "Use and costs"), table);
    const row = (name, used) => make("tr", {}, make("th", { scope: "row" }, name),
      make("td", {}, used.tokens ? `${number.format(used.tokens)} tokens` : "–"), make("td", {}, used.cost ?? ""));
    return async () => {
      try {
        const id = conversation();
        const used = await ask(`usage?c=${encodeURIComponent(id ?? "")}`);
        table.replaceChildren(
          ...(id ? [row("Last answer", used.answer), row("This chat", used.conversation)] : []), row("Today", used.today));
      } catch (error) { table.replaceChildren(make("tr", {}, make("td", {}, error.message))); }
    };
  });
})();
