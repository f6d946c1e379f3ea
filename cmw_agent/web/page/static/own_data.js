/* Sections of the settings that show what is one's own: data, recurring tasks, shared links, usage. */
(() => {
  "use strict";
  const { make, ask, store, conversation, t, tn, date } = window.cmw;
  const base = new URL(".", document.baseURI);
  const WORD = t("DELETE");
  const time = (iso) => date(new Date(iso), { dateStyle: "medium", timeStyle: "short" });
  const day = (iso) => date(new Date(iso));
  const button = (label, props = {}) => make("button", { type: "button", ...props }, label);
  const statusLine = () => make("div", { className: "cmw-status", role: "status", hidden: true });
  const tellIn = (status) => (text) => { status.textContent = text; status.hidden = !text; };

  /* -- data -- */

  // A link that saves what was erased where; the browser has it alone.
  function receiptLink(receipt) {
    const file = new Blob([`${JSON.stringify(receipt)}\n`], { type: "application/x-ndjson" });
    return make("a", { href: URL.createObjectURL(file), download: "erasure.receipts.jsonl" }, t("Save the receipt"));
  }

  function forgetting(status) {
    const tell = tellIn(status);
    const field = make("input", { type: "text", autocomplete: "off", "aria-label": t("Type {word} to confirm", { word: WORD }) });
    const sure = button(t("Delete everything"), { className: "cmw-danger", disabled: true });
    field.addEventListener("input", () => { sure.disabled = field.value.trim() !== WORD; });
    sure.addEventListener("click", async () => {
      sure.disabled = true;
      try {
        const { deleted, receipt } = await ask("history/forget", { sure: true });
        store.clear();
        document.getElementById("cmw-new")?.click();
        field.value = "";
        tell(tn("{count} conversation was deleted.", "{count} conversations were deleted.", deleted));
        status.append(" ", receiptLink(receipt));
        window.cmw.refresh();
      } catch (error) { tell(error.message); }
      field.focus();
    });
    return make("div", { className: "cmw-danger-zone" },
      make("h3", {}, t("Delete everything")),
      make("p", {}, t("Deletes all of your conversations with their files, shared links, recurring tasks and prompts for good, "
        + "and what you have written and not sent in this browser. Nobody can bring them back.")),
      make("label", {}, t("Type {word} to confirm", { word: WORD }), " ", field), sure);
  }

  // What users may let the operator do. Only what the server asks for is shown.
  const CONSENTS = {
    ratings: [
      t("Let the operator read conversations that I rate"),
      t("Whoever runs this app may then read the conversations in which you rate an answer, and keep copies to improve the app. "
        + "Your user name is not shown with them. Once you switch this off, they can read nothing of it here."),
    ],
    traces: [
      t("Let the operator record what I write and what is answered"),
      t("It then stands in the records by which whoever runs this app looks for faults. Once you switch this off, nothing more is recorded; "
        + "what was recorded stays there. Nothing of a temporary chat is recorded."),
    ],
  };

  function consenting(status) {
    const tell = tellIn(status);
    const part = make("div", { hidden: true });
    function entry(kind, isGiven) {
      const [label, about] = CONSENTS[kind];
      const box = make("input", { type: "checkbox", checked: isGiven });
      box.addEventListener("change", async () => {
        box.disabled = true;
        try {
          await ask("consents", { kind, agreed: box.checked });
          tell(box.checked ? t("Switched on.") : t("Switched off."));
        } catch (error) {
          box.checked = !box.checked;
          tell(error.message);
        }
        box.disabled = false;
        box.focus();
      });
      return [make("label", { className: "cmw-consent" }, box, label), make("p", {}, about)];
    }
    const refresh = async () => {
      const given = await ask("consents").catch(() => ({}));
      const shown = Object.entries(given).filter(([kind]) => kind in CONSENTS);
      part.hidden = !shown.length;
      part.replaceChildren(make("h3", {}, t("What the operator may do")), ...shown.flatMap(([kind, isGiven]) => entry(kind, isGiven)));
    };
    return { part, refresh };
  }

  window.cmw.addSettings("data", t("My data"), (host) => {
    const status = statusLine();
    const consent = consenting(status);
    const importing = make("div", { className: "cmw-dialog-row" }, ...window.cmw.importParts());
    const everything = button(t("Download everything"));
    everything.addEventListener("click", () => window.cmw.download("history/everything?format=zip&thinking=1&versions=all"));
    const dataset = button(t("Save as dataset"));
    dataset.addEventListener("click", () => window.cmw.download("history/everything?format=dataset"));
    host.append(
      make("h3", {}, t("Your conversations")),
      make("p", {}, t("A ZIP archive with all conversations and their files; it can be imported again.")),
      make("div", { className: "cmw-dialog-row" }, everything),
      make("p", {}, t("A dataset for programs that train or test models: all versions, with your ratings, tools, tokens and costs, without files.")),
      make("div", { className: "cmw-dialog-row" }, dataset),
      make("p", {}, t("Conversations of ChatGPT, Claude, Open WebUI or this app can be brought along.")),
      importing, consent.part, status, forgetting(status));
    // While the dialog is open, how far an import is stands in it, and not behind it.
    host.closest("dialog").addEventListener("close", () => window.cmw.showImportIn(null));
    return () => {
      window.cmw.showImportIn(importing);
      return consent.refresh();
    };
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

  window.cmw.addSettings("schedules", t("Recurring tasks"), (host) => listed(host, t("Recurring tasks"),
    t("Write “/schedule every day at 9: …” in a chat to add one."), "schedules", ({ schedules }, list, status) => {
      rows(list, schedules, (item) => endable(
        [make("strong", {}, item.text), make("small", {}, `${item.when} · ${item.stopped ? t("stopped after too many failures") : t("next {time}", { time: time(item.next) })}`)],
        t("Cancel"), list, status, () => ask("schedules/cancel", { id: item.id })), t("You have no recurring tasks."));
    }));

  /* -- shared links -- */

  window.cmw.addSettings("shares", t("Shared links"), (host) => listed(host, t("Shared links"),
    t("Whoever has one of these links can read the copy of the chat that it shows."), "shares", ({ shares }, list, status) => {
      rows(list, shares, (share) => endable([
        make("a", { href: new URL(share.path, base).href, target: "_blank", rel: "noopener" }, share.title || t("Shared chat")),
        make("small", {}, share.expires_at
          ? t("Made on {made}; ends on {end}.", { made: day(share.created_at), end: day(share.expires_at) })
          : t("Made on {made}; never ends.", { made: day(share.created_at) })),
      ], t("End link"), list, status, () => ask("shares/revoke", { id: share.id })), t("You share nothing by a link."));
    }), false);

  /* -- usage -- */

  window.cmw.addSettings("usage", t("Use and costs"), (host) => {
    const table = make("table", { className: "cmw-usage" });
    host.append(make("h3", {}, t("Use and costs")), table);
    const row = (name, used) => make("tr", {}, make("th", { scope: "row" }, name),
      make("td", {}, used.tokens ? tn("{count} token", "{count} tokens", used.tokens) : "–"), make("td", {}, used.cost ?? ""));
    return async () => {
      try {
        const id = conversation();
        const used = await ask(`usage?c=${encodeURIComponent(id ?? "")}`);
        table.replaceChildren(
          ...(id ? [row(t("Last answer"), used.answer), row(t("This chat"), used.conversation)] : []), row(t("Today"), used.today));
      } catch (error) { table.replaceChildren(make("tr", {}, make("td", {}, error.message))); }
    };
  });
})();
