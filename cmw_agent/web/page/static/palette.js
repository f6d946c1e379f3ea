/* The palette: one field that finds chats and actions, opened with Ctrl+K; and the other shortcuts. */
(() => {
  "use strict";
  const { make, ask, t } = window.cmw;
  const SEARCH_MS = 150;
  const MOST = 12;
  const click = (id) => () => document.getElementById(id)?.click();
  const ACTIONS = [
    [t("New chat"), click("cmw-new")], [t("Temporary chat"), click("cmw-temporary")],
    [t("Settings"), () => window.cmw.openSettings()], [t("Use and costs"), () => window.cmw.openSettings("usage")],
    [t("My data"), () => window.cmw.openSettings("data")], [t("Keyboard shortcuts"), () => window.cmw.openSettings("shortcuts")],
    [t("Light theme"), () => window.cmw.preferences.set("theme", "light")],
    [t("Dark theme"), () => window.cmw.preferences.set("theme", "dark")],
    [t("Show or hide the sidebar"), () => window.cmw.side.toggle()], [t("Rename this chat"), click("cmw-title")],
  ];
  let dialog, field, list, nothing, opener;
  let asked = 0; // answers to older questions are dropped
  let timer = 0;
  let isChosen = false;

  const options = () => [...list.children];
  const active = () => list.querySelector("[aria-selected=true]");

  function select(option) {
    active()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", option?.id ?? "");
  }

  function choose(option) {
    if (!option) return;
    isChosen = true;
    dialog.close();
    option.work();
  }

  function draw(chats) {
    const wanted = field.value.trim().toLowerCase();
    const actions = ACTIONS.filter(([label]) => label.toLowerCase().includes(wanted));
    const items = [
      ...(wanted ? [] : actions.slice(0, 3)).map(([label, work]) => ({ label, kind: t("Action"), work })),
      ...chats.slice(0, MOST).map((chat) => ({
        label: chat.title || t("Untitled"), kind: chat.snippet ?? t("Chat"), work: () => window.cmw.go(`?c=${encodeURIComponent(chat.id)}`
          + (chat.seq ? `&at=${chat.seq}` : "")),
      })),
      ...(wanted ? actions : actions.slice(3)).map(([label, work]) => ({ label, kind: t("Action"), work })),
    ];
    list.replaceChildren(...items.map(({ label, kind, work }, index) => {
      const option = make("li", { role: "option", id: `cmw-option-${index}`, "aria-selected": "false" },
        make("span", {}, label), make("small", {}, kind));
      option.work = work;
      option.addEventListener("click", () => choose(option));
      option.addEventListener("pointermove", () => { if (option !== active()) select(option); });
      return option;
    }));
    nothing.textContent = items.length ? "" : t("Nothing was found.");
    list.hidden = !items.length;
    nothing.hidden = items.length > 0;
    select(list.querySelector("[role=option]"));
  }

  async function search() {
    const mine = ++asked;
    const wanted = field.value.trim();
    try {
      const found = wanted ? (await ask(`history/search?q=${encodeURIComponent(wanted)}`)).found
        : (await ask("history")).conversations;
      if (mine === asked) draw(found);
    } catch { if (mine === asked) draw([]); }
  }

  function onKey(event) {
    const all = options().filter((option) => option.work);
    const now = all.indexOf(active());
    const to = { ArrowDown: now + 1, ArrowUp: now - 1 }[event.key];
    if (to !== undefined && all.length) select(all.at(to % all.length));
    else if (event.key === "Enter" && !event.isComposing) choose(active());
    else return;
    event.preventDefault();
  }

  function build() {
    field = make("input", {
      type: "text", role: "combobox", autocomplete: "off", placeholder: t("Find a chat or an action…"),
      "aria-label": t("Find a chat or an action"), "aria-expanded": "true", "aria-controls": "cmw-palette-list",
    });
    list = make("ul", { role: "listbox", id: "cmw-palette-list", "aria-label": t("Chats and actions") });
    nothing = make("p", { className: "cmw-empty", role: "status", hidden: true });
    dialog = make("dialog", { id: "cmw-palette", "aria-label": t("Find a chat or an action") }, field, list, nothing);
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(search, SEARCH_MS);
    });
    field.addEventListener("keydown", onKey);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    // What was chosen says where the focus goes.
    dialog.addEventListener("close", () => { if (!isChosen) opener?.focus?.(); });
    document.body.append(dialog);
  }

  function open() {
    if (!dialog) build();
    opener = document.activeElement === document.body ? window.cmw.box() : document.activeElement;
    isChosen = false;
    field.value = "";
    draw([]);
    dialog.showModal();
    field.focus();
    search();
  }

  const isTyping = (target) => target.matches?.("input, textarea, select, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    const isCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
    const isCovered = document.querySelector("dialog[open]") !== null;
    const key = event.key.toLowerCase();
    let work = null;
    if (isCommand && !event.shiftKey && key === "k") {
      if (dialog?.open) work = () => dialog.close();
      else if (!isCovered) work = open;
    } else if (isCovered) return;
    else if (isCommand && event.shiftKey && key === "o") work = click("cmw-new");
    else if (isCommand && key === ",") work = () => window.cmw.openSettings();
    else if (!isCommand && !event.altKey && event.key === "?" && !isTyping(event.target)) work = () => window.cmw.openSettings("shortcuts");
    if (!work) return;
    event.preventDefault();
    work();
  });

  window.cmw.openPalette = open;
})();
