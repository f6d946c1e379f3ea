/* Who answers: the choice of agent, model and effort, in a panel below their button in the header. */
(() => {
  "use strict";
  const { make } = window.cmw;
  const AUTO = "auto";
  let button, agent, model, effort, tunable;

  const labelOf = (select) => select.closest("label");
  const chosen = (select) => select.selectedOptions[0]?.textContent ?? "";

  function show() {
    const isTunable = Boolean(effort) && tunable.includes(model.value);
    if (effort) labelOf(effort).hidden = !isTunable;
    const named = labelOf(agent).hidden ? "" : chosen(agent);
    const isDemo = model.value === "demo";
    const words = [named, isDemo ? "Demo" : chosen(model)].filter(Boolean).join(" · ");
    button.firstElementChild.textContent = words;
    button.setAttribute("aria-label", `Agent and model: ${words}`);
    button.disabled = [agent, model, effort].every((select) => !select || labelOf(select).hidden);
    button.classList.toggle("demo", isDemo);
  }

  function place(panel) {
    const { left, bottom, right } = button.getBoundingClientRect();
    panel.style.top = `${bottom + 6}px`;
    const isLeft = left + 280 < innerWidth;
    panel.style.left = isLeft ? `${left}px` : "auto";
    panel.style.right = isLeft ? "auto" : `${Math.max(8, innerWidth - right)}px`;
  }

  window.cmw.when("#cmw-choices", (panel) => {
    button = document.getElementById("cmw-choose");
    const select = (name) => document.querySelector(`#cmw-${name} select`);
    [agent, model, effort] = ["agent", "models", "effort"].map(select);
    tunable = JSON.parse(document.getElementById("cmw-effort")?.dataset.models ?? "[]");
    panel.addEventListener("beforetoggle", () => place(panel));
    panel.addEventListener("change", show);
    agent.addEventListener("change", () => location.assign(`?agent=${encodeURIComponent(agent.value)}`));
    show();
    // What is sent with a message: the model, and how much it is to think where it can be told.
    window.cmw.choice = () => (effort && !labelOf(effort).hidden ? [model.value, effort.value] : model.value);
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
    window.cmw.setAgents = (found, current) => {
      if (found.length) agent.replaceChildren(...found.map(({ id, name }) => make("option", { value: id }, name)));
      if (current) agent.value = current;
      labelOf(agent).hidden = agent.options.length < 2;
      show();
    };
  });
})();
