/* Links to snapshots of one's own conversations: a dialog that makes, lists and ends them. */
(() => {
  "use strict";
  const { make, ask } = window.cmw;
  const base = new URL(".", document.baseURI);
  const ENDS = [["7", "in 7 days"], ["1", "in 1 day"], ["30", "in 30 days"], ["", "never"]];

  const day = (iso) => new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" })
    .format(new Date(iso));
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
      ...ENDS.map(([value, label]) => make("option", { value }, label)));
    const files = make("input", { type: "checkbox", name: "files" });
    const create = make("button", { type: "button", className: "cmw-main-action" }, "Make a link");
    const list = make("ul", { "aria-label": "Links to this chat" });
    const close = make("button", { type: "button" }, "Close");
    const dialog = make("dialog", { className: "cmw-share", "aria-labelledby": "cmw-share-title" },
      make("h2", { id: "cmw-share-title" }, "Share this chat"),
      make("p", {}, "Whoever has the link reads a copy of the chat as it is now: questions, answers and sources, "
        + "without your name. What you write later is not in it."),
      make("label", {}, "The link ends ", ends),
      make("label", {}, files, " With the files of this chat"),
      make("div", { className: "cmw-share-row" }, create, close), status, list);

    async function copy(share, field) {
      field.select();
      try {
        await navigator.clipboard.writeText(addressOf(share));
        tell("The link was copied.");
      } catch { tell("Please copy the link from its field."); }
    }

    function entry(share) {
      const field = make("input", { type: "text", readOnly: true, value: addressOf(share), "aria-label": "Link" });
      field.addEventListener("focus", () => field.select());
      const facts = `Made on ${day(share.created_at)}, ${share.messages} messages`
        + `${share.files ? " with files" : ""}; ends ${share.expires_at ? `on ${day(share.expires_at)}` : "never"}.`;
      const copies = make("button", { type: "button" }, "Copy");
      const revoke = make("button", { type: "button" }, "End link");
      const row = make("li", {}, field, make("span", {}, facts),
        make("div", { className: "cmw-share-row" }, copies, revoke));
      copies.addEventListener("click", () => copy(share, field));
      revoke.addEventListener("click", () => act(revoke, async () => {
        await ask("shares/revoke", { id: share.id });
        row.remove();
        tell("The link was ended: it shows nothing any more.");
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
      tell("The link was made.");
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
      if (mode === "accounts") tell("Only people who sign in here can open the link.");
    });
  }

  window.cmw.share = open;
})();
