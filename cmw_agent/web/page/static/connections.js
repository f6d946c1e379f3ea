/* The settings' panel of accounts: how each app stands for oneself, to connect and disconnect.
 *
 * Nothing is asked before the panel is opened. A link opens by a press of its own: a window that
 * a script opens once the server has answered is what pop-up blockers stop.
 */
(() => {
  "use strict";
  const { make, ask } = window.cmw;
  const STATES = { connected: "Connected", waiting: "Waiting", expired: "Expired", none: "Not connected" };
  const links = new Map(); // slug → address that was not followed yet
  let panel, list, status;
  let asked = 0; // answers to older questions are dropped

  const tell = (text) => { status.textContent = text; status.hidden = !text; };
  const button = (label, name, work) => {
    const made = make("button", { type: "button", "aria-label": `${label} ${name}` }, label);
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

  function connect(item, row) {
    return button("Connect", item.name, (pressed) => act(pressed, async () => {
      const { url } = await ask("connections/link", { toolkit: item.slug });
      links.set(item.slug, url);
      const link = follow(item);
      pressed.replaceWith(link);
      if (row.isConnected) link.focus();
      tell(`Press Continue: the page that connects ${item.name} opens in a new tab.`);
    }));
  }

  function follow(item) {
    const link = make("a", {
      href: links.get(item.slug), target: "_blank", rel: "noopener", className: "cmw-follow",
      "aria-label": `Continue to ${item.name} in a new tab`,
    }, "Continue ↗");
    link.addEventListener("click", () => links.delete(item.slug));
    return link;
  }

  function disconnect(item, row) {
    const first = button("Disconnect", item.name, () => {
      const sure = make("div", { className: "cmw-sure", role: "group", "aria-label": `Disconnect ${item.name}` },
        make("span", {}, "Disconnect this account?"),
        button("Disconnect", `${item.name} for good`, (pressed) => act(pressed, async () => {
          const { disconnected } = await ask("connections/disconnect", { toolkit: item.slug });
          await refresh();
          tell(disconnected ? `${item.name} was disconnected.` : `${item.name} was not connected.`);
          list.focus();
        })),
        button("Keep", item.name, () => { sure.remove(); first.hidden = false; first.focus(); }));
      first.hidden = true;
      row.append(sure);
      sure.querySelector("button").focus();
    });
    return first;
  }

  function entry(item) {
    const words = item.needs_account ? STATES[item.state] ?? STATES.none : "No account needed";
    const row = make("li", {},
      make("span", { className: "cmw-app" }, item.name),
      make("span", { className: "cmw-state" }, words));
    row.dataset.state = item.state;
    if (!item.needs_account) return row;
    if (item.state === "connected") links.delete(item.slug);
    if (item.state === "connected") row.append(disconnect(item, row));
    else row.append(links.has(item.slug) ? follow(item) : connect(item, row));
    return row;
  }

  async function refresh() {
    const mine = ++asked;
    list.setAttribute("aria-busy", "true");
    try {
      const found = await ask("connections");
      if (mine !== asked) return;
      window.cmw.offers({ connections: found.offered && found.kept });
      list.replaceChildren(...found.toolkits.map(entry));
      tell("");
    } catch (error) {
      if (mine === asked) tell(error.message);
    } finally {
      if (mine === asked) list.removeAttribute("aria-busy");
    }
  }

  window.cmw.addSettings("connections", "Connections", (host) => {
    panel = host;
    panel.classList.add("cmw-connections");
    list = make("ul", { "aria-label": "Apps", tabIndex: -1 });
    status = make("div", { className: "cmw-status", role: "status", hidden: true });
    panel.append(make("h3", {}, "Connected accounts"), list, status);
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
