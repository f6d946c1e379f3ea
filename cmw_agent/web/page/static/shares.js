/* Links to snapshots of one's own conversations: a dialog that makes, lists and ends them. */
(() => {
  "use strict";
  const { make, ask, t, tn, date } = window.cmw;
  const base = new URL(".", document.baseURI);
  const ENDS = ["7", "1", "30", ""]; // days after which a link ends

  const day = (iso) => date(new Date(iso));
  const ending = (days) => (days ? tn("in {count} day", "in {count} days", Number(days)) : t("never"));
  const addressOf = (share) => new URL(share.path, base).href;

  function open(item) {
    const opener = document.activeElement;
    const status = make("div", { className: "cmw-status", role: "status", hidden: true });
    const tell = (text) => { status.textContent = text; status.hidden = !text; };
    const act = async (pressed, work) => {
      pressed.disabled = true;
      tell("");
      try { await work(); } catch (error) { tell(error.message); } finally { pressed.disabled = false; }
    };

    const ends = make("select", { name: "days" },
      ...ENDS.map((value) => make("option", { value }, ending(value))));
    const files = make("input", { type: "checkbox", name: "files" });
    const create = make("button", { type: "button", className: "cmw-main-action" }, t("Make a link"));
    const list = make("ul", { "aria-label": t("Links to this chat") });
    const close = make("button", { type: "button" }, t("Close"));
    const dialog = make("dialog", { className: "cmw-share", "aria-labelledby": "cmw-share-title" },
      make("h2", { id: "cmw-share-title" }, t("Share this chat")),
      make("p", {}, t("Whoever has the link reads a copy of the chat as it is now: questions, answers and sources, "
        + "without your name. What you write later is not in it.")),
      make("label", {}, t("The link ends"), " ", ends),
      make("label", {}, files, " ", t("With the files of this chat")),
      make("div", { className: "cmw-share-row" }, create, close), status, list);

    async function copy(share, field) {
      field.select();
      try {
        await navigator.clipboard.writeText(addressOf(share));
        tell(t("The link was copied."));
      } catch { tell(t("Please copy the link from its field.")); }
    }

    function entry(share) {
      const field = make("input", { type: "text", readOnly: true, value: addressOf(share), "aria-label": t("Link") });
      field.addEventListener("focus", () => field.select());
      const facts = [
        t("Made on {made}", { made: day(share.created_at) }),
        tn("{count} message", "{count} messages", share.messages),
        ...(share.files ? [t("with files")] : []),
        share.expires_at ? t("ends on {end}", { end: day(share.expires_at) }) : t("never ends"),
      ].join(", ");
      const copies = make("button", { type: "button" }, t("Copy"));
      const revoke = make("button", { type: "button" }, t("End link"));
      const row = make("li", {}, field, make("span", {}, facts),
        make("div", { className: "cmw-share-row" }, copies, revoke));
      copies.addEventListener("click", () => copy(share, field));
      revoke.addEventListener("click", () => act(revoke, async () => {
        await ask("shares/revoke", { id: share.id });
        row.remove();
        tell(t("The link was ended: it shows nothing any more."));
        create.focus();
      }));
      return row;
    }

    create.addEventListener("click", () => act(create, async () => {
      const made = await ask("shares/create", {
        conversation: item.id, days: ends.value ? Number(ends.value) : null, files: files.checked,
      });
      const row = entry(made);
      list.prepend(row);
      row.querySelector("input").focus();
      tell(t("The link was made."));
    }));
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); opener?.focus?.(); });
    // Escape closes the dialog; what else the page does with it is not meant.
    dialog.addEventListener("keydown", (event) => event.stopPropagation());

    document.body.append(dialog);
    dialog.showModal();
    ends.focus();
    act(create, async () => {
      const { shares, mode } = await ask(`shares?c=${encodeURIComponent(item.id)}`);
      list.replaceChildren(...shares.map(entry));
      if (mode === "accounts") tell(t("Only people who sign in here can open the link."));
    });
  }

  window.cmw.share = open;
})();
