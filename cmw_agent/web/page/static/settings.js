/* The settings dialog: a list of sections, each built when it is first shown.
 *
 * Other scripts add theirs with `window.cmw.addSettings`. What concerns the look is stored in this
 * browser (preferences.js), everything else on the server.
 */
(() => {
  "use strict";
  const { make, preferences, t } = window.cmw;
  const sections = new Map(); // id → { title, build, shown, host, tab, refresh }
  const ORDER = ["general", "key", "prompts", "data", "connections", "schedules", "shares", "usage", "shortcuts"];
  let dialog, tabs, opener;

  // `build(host)` fills a section once, and may return what is done each time it is shown.
  window.cmw.addSettings = (id, title, build, isOffered = true) => {
    sections.set(id, { title, build, isOffered, host: null, tab: null, refresh: null });
  };
  // Which sections the server has something for.
  window.cmw.offers = (found) => {
    for (const [id, isOffered] of Object.entries(found)) {
      const section = sections.get(id);
      if (!section) continue;
      section.isOffered = isOffered;
      if (section.tab) section.tab.hidden = !isOffered;
    }
  };

  const shownTabs = () => [...tabs.children].filter((tab) => !tab.hidden);

  function show(id) {
    for (const [name, section] of sections) {
      const isShown = name === id;
      section.host.hidden = !isShown;
      section.tab.setAttribute("aria-selected", String(isShown));
      section.tab.tabIndex = isShown ? 0 : -1;
      if (!isShown) continue;
      if (section.build) section.refresh = section.build(section.host) ?? null;
      section.build = null;
      section.refresh?.();
    }
  }

  function addTab(id, section) {
    section.tab = make("button", {
      type: "button", role: "tab", id: `cmw-tab-${id}`, "aria-controls": `cmw-section-${id}`, hidden: !section.isOffered,
    }, section.title);
    section.host = make("section", {
      id: `cmw-section-${id}`, role: "tabpanel", "aria-labelledby": `cmw-tab-${id}`, hidden: true, tabIndex: -1,
    });
    section.tab.addEventListener("click", () => show(id));
    tabs.append(section.tab);
    return section.host;
  }

  function moveTab(event) {
    const all = shownTabs();
    const now = all.indexOf(document.activeElement);
    const to = { ArrowDown: now + 1, ArrowRight: now + 1, ArrowUp: now - 1, ArrowLeft: now - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined || now < 0) return;
    event.preventDefault();
    const next = all.at(to % all.length);
    next.click();
    next.focus();
  }

  function buildDialog() {
    tabs = make("div", { role: "tablist", "aria-label": t("Settings"), "aria-orientation": "vertical" });
    const close = make("button", { type: "button", className: "cmw-icon", "aria-label": t("Close settings") }, "×");
    const hosts = ORDER.filter((id) => sections.has(id)).map((id) => addTab(id, sections.get(id)));
    dialog = make("dialog", { id: "cmw-settings", "aria-labelledby": "cmw-settings-title" },
      make("header", {}, make("h2", { id: "cmw-settings-title" }, t("Settings")), close),
      make("div", { className: "cmw-settings-body" }, tabs, make("div", { className: "cmw-sections" }, ...hosts)));
    tabs.addEventListener("keydown", moveTab);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => {
      const back = opener?.isConnected && opener.checkVisibility() ? opener : window.cmw.box();
      back?.focus();
    });
    document.body.append(dialog);
  }

  window.cmw.openSettings = (id = "general") => {
    if (!dialog) buildDialog();
    if (!dialog.open) {
      opener = document.activeElement;
      dialog.showModal();
    }
    show(id);
    sections.get(id).tab.focus();
  };
  window.cmw.settingsButton = () => {
    const button = make("button", { type: "button", id: "cmw-settings-button", "aria-haspopup": "dialog" }, t("Settings"));
    button.addEventListener("click", () => window.cmw.openSettings());
    return button;
  };

  /* -- general -- */

  function field(label, control, hint = "") {
    const words = make("span", {}, label, ...(hint ? [make("small", {}, hint)] : []));
    return make("label", { className: "cmw-setting" }, words, control);
  }

  function choice(name, options) {
    const select = make("select", {}, ...options.map(([value, label]) => make("option", { value }, label)));
    select.value = preferences.get(name);
    select.addEventListener("change", () => preferences.set(name, select.value));
    return select;
  }

  function zones() {
    const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const all = Intl.supportedValuesOf?.("timeZone") ?? [];
    return choice("zone", [["", t("As this browser says ({zone})", { zone: own })], ...all.map((name) => [name, name.replaceAll("_", " ")])]);
  }

  function languages() {
    const { tag, offered, choose } = window.cmwLanguage;
    const select = make("select", {}, ...offered.map(([value, name]) => make("option", { value, lang: value }, name)));
    select.value = tag;
    select.addEventListener("change", () => {
      const isLost = window.cmw.temporaryChat() !== null;
      if (!isLost || confirm(t("The page is loaded again, and the temporary chat is gone then. Go on?"))) choose(select.value);
      else select.value = tag;
    });
    return select;
  }

  window.cmw.addSettings("general", t("General"), (host) => {
    host.append(
      field(t("Language"), languages(), t("The page is loaded again.")),
      field(t("Theme"), choice("theme", [["system", t("As the system")], ["light", t("Light")], ["dark", t("Dark")]])),
      field(t("Text size"), choice("size", [
        ["90", t("Small")], ["100", t("Normal")], ["115", t("Large")], ["130", t("Very large")],
      ])),
      field(t("Enter key"), choice("enter", [
        ["auto", t("As usual on this device")], ["send", t("Sends")], ["newline", t("Begins a new line")],
      ]), t("Usually it sends, and begins a new line on touch screens. Ctrl or ⌘ with Enter always sends.")),
      field(t("Time zone"), zones(), t("Of your recurring tasks.")),
      make("p", { className: "cmw-hint" }, t("These choices are kept in this browser.")));
  });

  /* -- keyboard -- */

  const KEYS = [
    ["Ctrl K / ⌘ K", t("Find a chat or an action")], ["?", t("Show these shortcuts")],
    ["Esc", t("Stop the answer; close what is open")], ["Enter", t("Send the message")], ["Shift Enter", t("New line")],
    ["/", t("Commands and prompts, at the start of the box")],
    ["↑ ↓ Home End", t("Move in menus and lists")], ["Ctrl Shift O", t("New chat")], ["Ctrl ,", t("Settings")],
  ];
  window.cmw.addSettings("shortcuts", t("Keyboard"), (host) => {
    host.append(make("h3", {}, t("Keyboard shortcuts")), make("dl", { className: "cmw-keys" }, ...KEYS.flatMap(([keys, what]) => [
      make("dt", {}, ...keys.split(" ").map((key) => (key === "/" && keys !== key ? ` ${key} ` : make("kbd", {}, key)))),
      make("dd", {}, what),
    ])));
  });
})();
