/* The choice of how much the model thinks, shown where the chosen model can be told. */
(() => {
  "use strict";
  const AUTO = "auto";
  let label, select, models;

  function show(model) {
    label.hidden = !models.includes(model);
  }

  window.cmw.when("#cmw-effort", (found) => {
    label = found;
    select = label.querySelector("select");
    models = JSON.parse(label.dataset.models);
    // Beside the choice of the model, where there are several to choose from.
    window.cmw.when("#cmw-models", (place) => place.append(label));
    // Called when another model was chosen.
    window.cmw.model = show;
    // What is sent with a message: the model, and how much it is to think where it can be told.
    window.cmw.choice = (model) => (label.hidden ? model : [model, select.value]);
    const opened = window.cmw.opened;
    window.cmw.opened = (id, model, effort) => {
      if (model !== undefined) {
        show(model);
        select.value = effort || AUTO;
      }
      return opened(id);
    };
  });
})();
