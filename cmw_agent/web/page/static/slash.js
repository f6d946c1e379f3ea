/* The menu that a slash at the start of the box opens: commands, and one's own saved prompts.
 *
 * The focus stays in the box; arrows choose, Enter or Tab takes, Escape closes. A command that is
 * written whole is sent by Enter as ever.
 */
(() => {
  "use strict";
  const { make, box, drafts, t, tn } = window.cmw;
  const LONGEST = 60; // characters behind the slash that are looked for
  let list, status, opener;
  let isOpen = false;
  let isDismissed = false; // until the box begins anew with a slash
  let isInserting = false; // opened by its button while the box has a text

  const options = () => [...list.querySelectorAll("[role=option]")];
  const active = () => list.querySelector("[aria-selected=true]");

  function select(option) {
    active()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) box().setAttribute("aria-activedescendant", option.id);
    else box().removeAttribute("aria-activedescendant");
  }

  // What stands behind the slash; null where the box does not begin with one alone.
  function wanted() {
    const { value } = box();
    const isOne = value.startsWith("/") && value.length <= LONGEST && !value.includes("\n");
    return isOne ? value.slice(1).toLowerCase() : null;
  }

  /* -- what can be chosen -- */

  const nameOf = ({ usage }) => usage.split(" ")[0];

  function commands(words) {
    return window.cmw.prompts.offered().commands.filter((command) => nameOf(command).slice(1).startsWith(words))
      .map((command) => ({
        name: nameOf(command), label: command.usage, hint: command.help.replaceAll("`", ""),
        work: () => { drafts.fill(nameOf(command) + (command.usage.includes(" ") ? " " : "")); },
      }));
  }

  function prompts(words) {
    const parts = words.split(/\s+/).filter(Boolean);
    return window.cmw.prompts.offered().prompts
      .filter(({ name }) => parts.every((part) => name.toLowerCase().includes(part)))
      .map(({ name, text }) => ({
        label: name, hint: window.cmw.prompts.lineOf(text),
        work: () => {
          if (!isInserting) drafts.fill("");
          window.cmw.prompts.insert(text);
        },
      }));
  }

  // The work of an entry whose server has to be asked first; a failure is said.
  const asking = (work) => () => {
    if (!isInserting) drafts.fill("");
    work().catch((error) => window.cmw.notice(error.message, true));
  };

  function ofServers(words) {
    const parts = words.split(/\s+/).filter(Boolean);
    const { prompts: texts, resources } = window.cmw.prompts.servers();
    const entries = [
      ...texts.map((offer) => ({ offer, hint: offer.description, work: asking(() => window.cmw.prompts.insertOf(offer)) })),
      ...resources.map((offer) => ({
        offer, hint: t("Attach: {description}", { description: offer.description || offer.key }),
        work: asking(() => window.cmw.prompts.attachOf(offer)),
      })),
    ];
    return entries.map(({ offer, hint, work }) => ({ label: `${offer.server}: ${offer.name}`, hint, work }))
      .filter(({ label }) => parts.every((part) => label.toLowerCase().includes(part)));
  }

  function further() {
    const text = box().value;
    if (isInserting) return [{ label: t("Save this text as a prompt…"), hint: "", work: () => window.cmw.prompts.save(text) }];
    return [{ label: t("Manage prompts…"), hint: "", work: () => { drafts.fill(""); window.cmw.openSettings("prompts"); } }];
  }

  function found() {
    if (isInserting) return [...prompts(""), ...ofServers(""), ...further()];
    const words = wanted();
    if (words === null) return [];
    const matching = [...(/\s/.test(words) ? [] : commands(words)), ...prompts(words), ...ofServers(words)];
    return words ? matching : [...matching, ...further()];
  }

  /* -- the list -- */

  function entry(item, index) {
    const option = make("li", { role: "option", id: `cmw-slash-${index}`, "aria-selected": "false" },
      make("span", {}, make("bdi", {}, item.label)), make("small", {}, item.hint));
    option.item = item;
    option.addEventListener("click", () => choose(option));
    option.addEventListener("pointermove", () => { if (option !== active()) select(option); });
    return option;
  }

  function place() {
    const { left, width, top } = document.getElementById("cmw-input").getBoundingClientRect();
    list.style.left = `${left}px`;
    list.style.width = `${width}px`;
    list.style.bottom = `${innerHeight - top + 6}px`;
    list.style.maxHeight = `${Math.min(360, top - 12)}px`;
  }

  function close() {
    if (!isOpen) return;
    isOpen = isInserting = false;
    list.hidePopover();
    list.replaceChildren();
    select(null);
    status.textContent = "";
    opener.setAttribute("aria-expanded", "false");
  }

  function show() {
    const items = isDismissed ? [] : found();
    if (!items.length) {
      close();
      return;
    }
    list.replaceChildren(...items.map(entry));
    place();
    if (!isOpen) list.showPopover();
    isOpen = true;
    opener.setAttribute("aria-expanded", "true");
    select(options()[0]);
    status.textContent = tn("{count} entry; choose with the arrow keys and Enter.",
      "{count} entries; choose with the arrow keys and Enter.", items.length);
  }

  // Shows what is known at once, and then what the server says now.
  async function open() {
    show();
    await window.cmw.prompts.load();
    if (isInserting || wanted() !== null) show();
    if (!window.cmw.prompts.offered().servers) return;
    await window.cmw.prompts.loadServers();
    if (isInserting || wanted() !== null) show();
  }

  function choose(option) {
    const { item } = option;
    box().focus();
    item.work();
    close();
    isDismissed = wanted() !== null;
  }

  function typed() {
    if (wanted() === null) isDismissed = false;
    if (isInserting) close();
    if (wanted() === "" && !isDismissed) open();
    else show();
  }

  function press(event) {
    if (!isOpen || event.target !== box() || event.isComposing || event.keyCode === 229) return;
    const all = options();
    const now = all.indexOf(active());
    const to = { ArrowDown: (now + 1) % all.length, ArrowUp: now - 1 }[event.key];
    const isWhole = active()?.item.name === box().value;
    const takes = event.key === "Tab" ? !event.shiftKey
      : event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey && !isWhole;
    if (to !== undefined) select(all.at(to));
    else if (takes) choose(active());
    else if (event.key === "Escape") {
      isDismissed = true;
      close();
    } else {
      if (event.key === "Enter") close();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  function toggle() {
    const input = box();
    if (isOpen) {
      close();
      return;
    }
    isDismissed = false;
    input.focus();
    isInserting = Boolean(input.value) && wanted() === null;
    if (!input.value) drafts.fill("/");
    else open();
  }

  window.cmw.when("#cmw-input #cmw-slash", (button) => {
    opener = button;
    list = make("ul", { id: "cmw-slash-list", role: "listbox", "aria-label": t("Commands and prompts"), popover: "manual" });
    status = make("div", { className: "sr-only", role: "status" });
    opener.setAttribute("aria-expanded", "false");
    list.addEventListener("pointerdown", (event) => event.preventDefault()); // the focus stays in the box
    opener.addEventListener("pointerdown", (event) => event.preventDefault());
    opener.addEventListener("click", toggle);
    document.getElementById("cmw-main").append(list, status);
    for (const [name, value] of [["autocomplete", "list"], ["haspopup", "listbox"], ["controls", list.id]]) {
      box().setAttribute(`aria-${name}`, value);
    }
    box().addEventListener("blur", close);
    document.addEventListener("keydown", press, true); // before Enter would send
    document.addEventListener("input", ({ target }) => { if (target === box()) typed(); });
    window.addEventListener("resize", () => { if (isOpen) place(); });
  });
})();
