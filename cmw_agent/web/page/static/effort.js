/* The choice of how much the model thinks, shown where the chosen model can be told. */
(() => {
  "use strict";
  let select, models;

  // Called when another model was chosen, and when a page is opened.
  window.cmw.model = (model) => {
    if (!select) return;
    select.hidden = !models.includes(model ?? models[0]);
  };
  // What is sent with a message: the model, and how much it is to think where that was chosen.
  window.cmw.choice = (model) => (select && !select.hidden ? [model, select.value] : model);
  window.cmw.effort = (effort) => { if (select) select.value = effort ?? ""; };

  window.cmw.when("#cmw-effort", (found) => {
    select = found;
    models = JSON.parse(select.dataset.models);
  });
})();
