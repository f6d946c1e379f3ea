/* The header: the chat's title, which is renamed in its place, and its agent. */
(() => {
  "use strict";
  const { make, ask, conversation, t } = window.cmw;
  const MARKED = /^(?:● |\(\d+\) ).*? – /; // what other scripts write before the tab's title
  const titles = new Map(); // of the conversations that the list has shown, by id
  const MOST = 500;
  let heading, button;
  let asked = 0; // answers to older questions are dropped

  const named = () => titles.get(conversation() ?? "") ?? "";
  const appName = () => window.cmw.look().agent_name || window.cmw.look().name;

  function show() {
    if (!heading || heading.querySelector("input")) return;
    const title = named();
    const mark = MARKED.exec(document.title)?.[0] ?? "";
    document.title = mark + (title ? `${title} – ${appName()}` : appName());
    button.textContent = title || appName();
    button.disabled = !title;
    button.title = title ? t("Rename this chat") : "";
  }

  function note(id, title) {
    titles.delete(id);
    titles.set(id, title);
    while (titles.size > MOST) titles.delete(titles.keys().next().value);
  }

  // The title of a conversation that the list does not show, and the agent that answers in it.
  async function refresh() {
    const mine = ++asked;
    const id = conversation();
    show();
    const agent = new URL(location.href).searchParams.get("agent");
    const query = new URLSearchParams({ ...(id ? { c: id } : {}), ...(agent ? { agent } : {}) });
    const found = await ask(`look?${query}`).catch(() => null); // the page keeps the look that it has
    if (mine !== asked || !found) return;
    if (id && found.title !== null) note(id, found.title);
    window.cmw.setLook(found.look);
    for (const option of document.querySelectorAll("#cmw-models option")) {
      option.hidden = option.disabled = found.closed_models.includes(option.value); // it is for others
    }
    const demoNote = document.querySelector(".cmw-demo");
    if (demoNote) demoNote.hidden = !found.is_demo;
    window.cmw.setAgents?.(found.agents, found.look.agent, found.uses_model);
    show();
  }

  function rename() {
    const id = conversation();
    const before = named();
    const input = make("input", { value: before, maxLength: 60, "aria-label": t("Title of this chat") });
    button.replaceWith(input);
    input.select();
    input.focus();
    let isDone = false;
    const finish = async (keep) => {
      if (isDone) return;
      isDone = true;
      const isHere = document.activeElement === input;
      input.replaceWith(button);
      if (isHere) button.focus();
      const title = input.value.trim();
      if (!keep || !title || title === before) return;
      try {
        note(id, (await ask("history/rename", { id, title })).title);
        window.cmw.refresh();
      } catch (error) { window.cmw.notice(error.message, true); }
      show();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      finish(event.key === "Enter");
    });
    input.addEventListener("blur", () => finish(true));
  }

  document.addEventListener("cmw:listed", ({ detail: items }) => {
    for (const { id, title } of items) note(id, title);
    show();
  });
  for (const name of ["named", "opened", "leaving", "look"]) {
    document.addEventListener(`cmw:${name}`, name === "opened" || name === "named" ? refresh : show);
  }
  window.cmw.titleOf = (id) => titles.get(id) ?? "";

  window.cmw.when(".cmw-head h1", (found) => {
    heading = found;
    button = make("button", { type: "button", id: "cmw-title" }, heading.textContent);
    heading.replaceChildren(button);
    button.addEventListener("click", rename);
    show();
  });
})();
