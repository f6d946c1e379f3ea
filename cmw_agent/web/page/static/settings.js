/* The settings dialog: a list of sections, each built when it is first shown.
 *
 * Other scripts add theirs with `window.cmw.addSettings`. What concerns the look is stored in this
 * browser (preferences.js), everything else on the server.
 */
(() => {
  "use strict";
  const { make, preferences } = window.cmw;
  const sections = new Map(); // id → { title, build, shown, host, tab, refresh }
  const ORDER = ["general", "data", "connections", "schedules", "shares", "usage", "shortcuts"];
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
    tabs = make("div", { role: "tablist", "aria-label": "Settings", "aria-orientation": "vertical" });
    const close = make("button", { type: "button", className: "cmw-icon", "aria-label": "Close settings" }, "×");
    const hosts = ORDER.filter((id) => sections.has(id)).map((id) => addTab(id, sections.get(id)));
    dialog = make("dialog", { id: "cmw-settings", "aria-labelledby": "cmw-settings-title" },
      make("header", {}, make("h2", { id: "cmw-settings-title" }, "Settings"), close),
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
    const button = make("button", { type: "button", id: "cmw-settings-button", "aria-haspopup": "dialog" }, "Settings");
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
    return choice("zone", [["", `As this browser says (${own})`], ...all.map((name) => [name, name.replaceAll("_", " ")])]);
  }

  window.cmw.addSettings("general", "General", (host) => {
    host.append(
      make("div", { id: "cmw-language-slot" }),
      field("Theme", choice("theme", [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]])),
      field("Text size", choice("size", [["90", "Small"], ["100", "Normal"], ["115", "Large"], ["130", "Very large"]])),
      field("Enter key", choice("enter", [
        ["auto", "As usual on this device"], ["send", "Sends"], ["newline", "Begins a new line"],
      ]), "Usually it sends, and begins a new line on touch screens. Ctrl or ⌘ with Enter always sends."),
      field("Time zone", zones(), "Of your recurring tasks."),
      make("p", { className: "cmw-hint" }, "These choices are kept in this browser."));
  });

  /* -- keyboard -- */

  const KEYS = [
    ["Ctrl K or ⌘ K", "Find a chat or an action"], ["?", "Show these shortcuts"], ["Esc", "Stop the answer; close what is open"],
    ["Enter", "Send the message"], ["Shift Enter", "New line"], ["↑ ↓ Home End", "Move in menus and lists"],
    ["Ctrl Shift O", "New chat"], ["Ctrl ,", "Settings"],
  ];
  window.cmw.addSettings("shortcuts", "Keyboard", (host) => {
    host.append(make("h3", {}, "Keyboard shortcuts"), make("dl", { className: "cmw-keys" }, ...KEYS.flatMap(([keys, what]) => [
      make("dt", {}, ...keys.split(" ").map((key) => (/^(?:or)$/.test(key) ? ` ${key} ` : make("kbd", {}, key)))),
      make("dd", {}, what),
    ])));
  });
})();
