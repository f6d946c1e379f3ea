/* Saved prompts: those that the server has of the user, and their section in the settings. */
(() => {
  "use strict";
  const { make, ask, drafts, box, t } = window.cmw;
  const NAME_CHARS = 60;
  const LINE_CHARS = 120; // of a prompt's text in a list
  let offered = { prompts: [], commands: [], max_chars: 0 };
  let servers = { prompts: [], resources: [] };
  let section = null; // the settings' parts, once they were shown

  const button = (label, props = {}) => make("button", { type: "button", ...props }, label);
  const lineOf = (text) => text.trim().replace(/\s+/g, " ").slice(0, LINE_CHARS);

  // What can be put into the box, as the server says now; as it was where it does not answer.
  async function load() {
    offered = await ask("prompts").catch(() => offered);
    return offered;
  }

  // What servers offer: asked for once the menu is open, since a server may take its time.
  async function loadServers() {
    servers = await ask("servers/offers").catch(() => servers);
  }

  async function insertOf({ server, key }) {
    window.cmw.prompts.insert((await ask("servers/prompt", { server, key })).text);
  }

  async function attachOf({ server, key }) {
    const { name, type, content } = await ask("servers/resource", { server, key });
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    window.cmw.attach([new File([bytes], name, { type })]);
  }

  function tell(text) {
    section.status.textContent = text;
    section.status.hidden = !text;
  }

  function edit(prompt) {
    section.id = prompt.id ?? null;
    section.name.value = prompt.name ?? "";
    section.text.value = prompt.text ?? "";
    section.title.textContent = prompt.id ? t("Change the prompt") : t("New prompt");
    section.cancel.hidden = !prompt.id;
  }

  function row(prompt) {
    const change = button(t("Edit"), { "aria-label": t("Edit {name}", { name: prompt.name }) });
    const remove = button(t("Delete"), { "aria-label": t("Delete {name}", { name: prompt.name }) });
    change.addEventListener("click", () => { edit(prompt); section.name.focus(); });
    remove.addEventListener("click", async () => {
      remove.disabled = true;
      try {
        await ask("prompts/delete", { id: prompt.id });
        if (section.id === prompt.id) edit({});
        await draw();
        section.name.focus(); // the row goes, and the focus with it
      } catch (error) { remove.disabled = false; tell(error.message); }
    });
    return make("li", {}, make("div", {}, make("strong", {}, make("bdi", {}, prompt.name)), make("small", {}, lineOf(prompt.text))),
      change, remove);
  }

  async function draw() {
    const { prompts, max_chars: most } = await load();
    if (most) section.text.maxLength = most;
    section.list.replaceChildren(...prompts.map(row));
    section.none.hidden = prompts.length > 0;
  }

  async function save(event) {
    event.preventDefault();
    const content = { name: section.name.value.trim(), text: section.text.value };
    if (!content.name || !content.text.trim()) {
      tell(t("A prompt needs a name and a text."));
      return;
    }
    section.save.disabled = true;
    try {
      await (section.id ? ask("prompts/update", { id: section.id, ...content }) : ask("prompts/create", content));
      tell(t("“{name}” is saved.", { name: content.name }));
      edit({});
      await draw();
    } catch (error) { tell(error.message); } finally { section.save.disabled = false; }
    section.name.focus();
  }

  function build(host) {
    section = {
      id: null,
      list: make("ul", { className: "cmw-own-list" }),
      none: make("p", { className: "cmw-empty", hidden: true }, t("You have saved no prompts.")),
      status: make("div", { className: "cmw-status", role: "status", hidden: true }),
      title: make("h3", {}, t("New prompt")),
      name: make("input", { type: "text", maxLength: NAME_CHARS, autocomplete: "off" }),
      text: make("textarea", { rows: 5, dir: "auto" }),
      save: button(t("Save"), { type: "submit" }),
      cancel: button(t("Cancel"), { hidden: true }),
    };
    section.cancel.addEventListener("click", () => { edit({}); section.name.focus(); });
    const form = make("form", { className: "cmw-prompt-form" }, section.title,
      make("label", {}, t("Name"), section.name), make("label", {}, t("Text"), section.text),
      make("div", { className: "cmw-dialog-row" }, section.save, section.cancel));
    form.addEventListener("submit", save);
    host.append(make("h3", {}, t("Prompts")),
      make("p", {}, t("Texts of yours that you use again. Write “/” at the start of the box to choose one.")),
      section.list, section.none, section.status, form);
    return draw;
  }

  window.cmw.addSettings("prompts", t("Prompts"), build);
  window.cmw.prompts = {
    load,
    lineOf,
    offered: () => offered,
    loadServers,
    servers: () => servers,
    insertOf,
    attachOf,
    // Opens the settings to save a text as a prompt.
    save(text) {
      window.cmw.openSettings("prompts");
      edit({ text });
      section.name.focus();
    },
    // Puts a text where the cursor stands in the box.
    insert(text) {
      const input = box();
      const { selectionStart: start, selectionEnd: end, value } = input;
      drafts.fill(value.slice(0, start) + text + value.slice(end));
      input.focus();
      input.setSelectionRange(start + text.length, start + text.length);
    },
  };
})();
