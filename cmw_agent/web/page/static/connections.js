/* The settings' panel of accounts: how each app stands for oneself, to connect and disconnect.
 *
 * Nothing is asked before the panel is opened. A link opens by a press of its own: a window that
 * a script opens once the server has answered is what pop-up blockers stop.
 */
(() => {
  "use strict";
  const { make, ask, t, tn } = window.cmw;
  const STATES = { connected: t("Connected"), waiting: t("Waiting"), expired: t("Expired"), none: t("Not connected") };
  const links = new Map(); // slug → address that was not followed yet
  let panel, list, status, adding;
  let asked = 0; // answers to older questions are dropped

  const tell = (text) => { status.textContent = text; status.hidden = !text; };
  const button = (label, name, work) => {
    const made = make("button", { type: "button", "aria-label": name }, label);
    made.addEventListener("click", () => work(made));
    return made;
  };

  async function act(pressed, work) {
    pressed.disabled = true;
    tell("");
    try { await work(); } catch (error) {
      pressed.disabled = false;
      pressed.focus();
      tell(error.message);
    }
  }

  function connect(item, row, label = t("Connect"), name = t("Connect {name}", { name: item.name })) {
    return button(label, name, (pressed) => act(pressed, async () => {
      const { url } = await ask("connections/link", { toolkit: item.slug });
      links.set(item.slug, url);
      const link = follow(item);
      pressed.replaceWith(link);
      if (row.isConnected) link.focus();
      tell(t("Press Continue: the page that connects {name} opens in a new tab.", { name: item.name }));
    }));
  }

  function follow(item) {
    const link = make("a", {
      href: links.get(item.slug), target: "_blank", rel: "noopener", className: "cmw-follow",
      "aria-label": t("Continue to {name} in a new tab", { name: item.name }),
    }, t("Continue ↗"));
    link.addEventListener("click", () => links.delete(item.slug));
    return link;
  }

  function disconnect(name, body, row) {
    const label = t("Disconnect {name}", { name });
    const first = button(t("Disconnect"), label, () => {
      const sure = make("div", { className: "cmw-sure", role: "group", "aria-label": label },
        make("span", {}, t("Disconnect this account?")),
        button(t("Disconnect"), t("Disconnect {name} for good", { name }), (pressed) => act(pressed, async () => {
          const { disconnected } = await ask("connections/disconnect", body);
          await refresh();
          tell(disconnected ? t("{name} was disconnected.", { name }) : t("{name} was not connected.", { name }));
          list.focus();
        })),
        button(t("Keep"), t("Keep {name}", { name }), () => { sure.remove(); first.hidden = false; first.focus(); }));
      first.hidden = true;
      row.append(sure);
      sure.querySelector("button").focus();
    });
    return first;
  }

  function remove({ name }) {
    const made = button(t("Remove"), t("Remove {name}", { name }), (pressed) => act(pressed, async () => {
      await ask("servers/remove", { name });
      await refresh();
      tell(t("{name} was removed.", { name }));
      list.focus();
    }));
    made.className = "cmw-remove";
    return made;
  }

  // The form for a server of one's own; hidden where none can be added.
  function form() {
    const name = make("input", { required: true, maxLength: 24, pattern: "[a-z][a-z0-9\\-]*", autocomplete: "off" });
    const url = make("input", { type: "url", required: true, maxLength: 500, autocomplete: "off" });
    const made = make("form", { className: "cmw-prompt-form cmw-own-server", hidden: true },
      make("h3", {}, t("Add an MCP server")),
      make("label", {}, t("Name"), name), make("label", {}, t("Address"), url),
      make("button", { type: "submit" }, t("Add server")));
    made.addEventListener("submit", (event) => {
      event.preventDefault();
      act(made.querySelector("button"), async () => {
        await ask("servers/add", { name: name.value, url: url.value });
        made.reset();
        await refresh();
        tell(t("The server was added; its tools are there with your next message."));
      }).finally(() => { made.querySelector("button").disabled = false; });
    });
    return made;
  }

  function entry(item) {
    const without = item.shared ? t("One session for all users") : t("No account needed");
    const words = item.needs_account ? STATES[item.state] ?? STATES.none : without;
    const row = make("li", {},
      make("span", { className: "cmw-app" }, item.name),
      make("span", { className: "cmw-state" }, words));
    row.dataset.state = item.state;
    if (item.own) {
      row.dataset.own = "";
      row.append(remove(item));
      if (item.state === "none") row.querySelector(".cmw-state").textContent = t("Added by you");
    }
    if (item.left_out) {
      row.querySelector(".cmw-state").textContent += ` · ${tn("{count} of its tools cannot be used",
        "{count} of its tools cannot be used", item.left_out)}`;
    }
    if (!item.needs_account) return row;
    const accounts = item.accounts ?? [];
    if (item.state === "connected") links.delete(item.slug);
    if (item.state !== "connected") row.append(links.has(item.slug) ? follow(item) : connect(item, row));
    else if (accounts.length < 2) row.append(disconnect(item.name, { toolkit: item.slug }, row));
    if (accounts.length > 1) row.append(choices(item, accounts));
    else if (accounts.length && accounts[0].label !== item.name) row.querySelector(".cmw-state").textContent += ` · ${accounts[0].label}`;
    if (accounts.length && item.state === "connected") row.append(another(item, row));
    return row;
  }

  // What a further account is connected with, below the row.
  function another(item, row) {
    const name = t("Add another account of {name}", { name: item.name });
    return make("div", { className: "cmw-another" }, connect(item, row, t("Add another account"), name));
  }

  // Of several accounts the one that is used is chosen, and each is disconnected by itself.
  function choices(item, accounts) {
    const label = t("Accounts of {name}", { name: item.name });
    return make("ul", { className: "cmw-accounts", "aria-label": label }, ...accounts.map((account) => {
      const choice = make("input", { type: "radio", name: `cmw-account-${item.slug}`, value: account.id, checked: account.used });
      choice.addEventListener("change", () => choose(choice, account));
      const words = account.state === "connected" ? [] : [make("span", { className: "cmw-state" }, STATES[account.state] ?? STATES.none)];
      const row = make("li", {}, make("label", {}, choice, make("bdi", {}, account.label), ...words));
      row.append(disconnect(account.label, { account: account.id }, row));
      return row;
    }));
  }

  async function choose(choice, { id, label }) {
    choice.disabled = true;
    let told = t("{name} is used from now on.", { name: label });
    try { await ask("connections/choose", { account: id }); } catch (error) { told = error.message; }
    await refresh();
    tell(told);
    list.querySelector(`input[value="${CSS.escape(id)}"]`)?.focus();
  }

  async function refresh() {
    const mine = ++asked;
    list.setAttribute("aria-busy", "true");
    try {
      const found = await ask("connections");
      if (mine !== asked) return;
      window.cmw.offers({ connections: found.offered && found.kept });
      list.replaceChildren(...found.toolkits.map(entry));
      adding.hidden = !found.takes_own;
      tell("");
    } catch (error) {
      if (mine === asked) tell(error.message);
    } finally {
      if (mine === asked) list.removeAttribute("aria-busy");
    }
  }

  window.cmw.addSettings("connections", t("Connections"), (host) => {
    panel = host;
    panel.classList.add("cmw-connections");
    list = make("ul", { "aria-label": t("Apps"), tabIndex: -1 });
    status = make("div", { className: "cmw-status", role: "status", hidden: true });
    adding = form();
    panel.append(make("h3", {}, t("Connected accounts")), list, adding, status);
    // One comes back from the tab in which an account was connected. Who is asked whether they
    // are sure is not disturbed.
    window.addEventListener("focus", () => {
      if (panel.checkVisibility() && !panel.querySelector(".cmw-sure")) refresh();
    });
    return refresh;
  }, false);

  /* -- links in texts --
   *
   * Whoever follows a link to Composio's site connects an account of theirs to whom it was made
   * for; and the button that begins a connection is the app's own. So neither is a link in a
   * text, however it is written: the browser has read the address here. */
  const CONNECT_HOST = "connect.composio.dev";
  const isForeign = (link) => `${link.hostname} ${link.href}`.toLowerCase().includes(CONNECT_HOST);
  const isOwn = (link) => link.origin === location.origin && link.pathname.endsWith("/connections/connect");
  // The pane makes the app's own panel beside the texts, never within one.
  const isButton = (link) => link.parentElement?.matches(".cmw-connect")
    && !link.closest(".cmw-answer, .cmw-step-content, .cmw-own");

  function unlink(root) {
    for (const link of root.querySelectorAll("a[href], area[href]")) {
      if (isForeign(link) || (isOwn(link) && !isButton(link))) link.replaceWith(...link.childNodes);
    }
  }

  function look(changes) {
    for (const { target, addedNodes } of changes) {
      if ([...addedNodes].some((node) => node instanceof Element)) unlink(target);
    }
  }

  function stop(event) {
    const link = event.target.closest?.("a[href], area[href]");
    if (link && (isForeign(link) || (isOwn(link) && !isButton(link)))) event.preventDefault();
  }

  window.cmw.when("#cmw-chat", (chat) => {
    // A press that comes before the link is gone goes nowhere.
    for (const kind of ["click", "auxclick"]) chat.addEventListener(kind, stop, true);
    new MutationObserver(look).observe(chat, { childList: true, subtree: true });
    unlink(chat);
  });
})();
