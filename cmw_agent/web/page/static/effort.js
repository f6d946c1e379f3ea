/* Who answers: the choice of agent, model and effort, in a panel above their button in the box. */
(() => {
  "use strict";
  const { make, t } = window.cmw;
  const AUTO = "auto";
  const WIDTH = 17; // of the panel, in rem
  let button, agent, model, effort, tunable;
  let usesModel = true; // the agent is the built-in loop

  const labelOf = (select) => select.closest("label");
  const chosen = (select) => select.selectedOptions[0]?.textContent ?? "";

  function show() {
    const isTunable = usesModel && Boolean(effort) && tunable.includes(model.value);
    if (effort) labelOf(effort).hidden = !isTunable;
    labelOf(model).hidden = !usesModel || model.options.length < 2;
    const named = usesModel && labelOf(agent).hidden ? "" : chosen(agent);
    const isDemo = usesModel && model.value === "demo";
    const level = isTunable && effort.value !== AUTO ? chosen(effort) : "";
    const modelName = isDemo ? t("Demo") : chosen(model);
    const words = [named, usesModel ? modelName : "", level].filter(Boolean).join(" · ");
    button.firstElementChild.textContent = words;
    const label = usesModel ? t("Agent and model: {name}", { name: words }) : t("Agent: {name}", { name: words });
    button.setAttribute("aria-label", label);
    button.disabled = [agent, model, effort].every((select) => !select || labelOf(select).hidden);
    button.classList.toggle("demo", isDemo);
  }

  function place(panel) {
    const { left, top } = button.getBoundingClientRect();
    const width = WIDTH * parseFloat(getComputedStyle(document.documentElement).fontSize);
    panel.style.bottom = `${innerHeight - top + 6}px`;
    panel.style.maxHeight = `${top - 14}px`;
    panel.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  }

  window.cmw.when("#cmw-choices", (panel) => {
    button = document.getElementById("cmw-choose");
    const select = (name) => document.querySelector(`#cmw-${name} select`);
    [agent, model, effort] = ["agent", "models", "effort"].map(select);
    usesModel = !panel.hasAttribute("data-without-model");
    tunable = JSON.parse(document.getElementById("cmw-effort")?.dataset.models ?? "[]");
    panel.addEventListener("beforetoggle", () => place(panel));
    panel.addEventListener("change", show);
    agent.addEventListener("change", () => location.assign(`?agent=${encodeURIComponent(agent.value)}`));
    show();
    // What is sent with a message: the model, and how much it is to think where it can be told.
    window.cmw.choice = () => {
      if (!usesModel) return "";
      return effort && !labelOf(effort).hidden ? [model.value, effort.value] : model.value;
    };
    const { opened } = window.cmw;
    window.cmw.opened = (id, opensWith, effortOf) => {
      if (typeof opensWith === "string") {
        model.value = opensWith;
        if (effort) effort.value = effortOf || AUTO;
        show();
      }
      return opened(id);
    };
    // The page itself names the agents that are for everybody; these are all that one may use.
    window.cmw.setAgents = (found, current, isOfModel) => {
      usesModel = isOfModel ?? usesModel;
      if (found.length) agent.replaceChildren(...found.map(({ id, name }) => make("option", { value: id }, name)));
      if (current) agent.value = current;
      labelOf(agent).hidden = agent.options.length < 2;
      show();
    };
  });
})();
