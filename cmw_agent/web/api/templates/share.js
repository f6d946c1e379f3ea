/* The one script of a shared chat's page: the button that copies it for whoever reads. */
(() => {
  "use strict";
  const button = document.getElementById("continue");
  const note = document.getElementById("note");
  const home = new URL(button.dataset.home, location.href);
  const report = (text) => { note.textContent = text; button.disabled = false; };

  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    note.textContent = "";
    try {
      // Who has never opened the chat becomes a visitor there first.
      await fetch(home, { method: "HEAD", cache: "no-store" });
      const answer = await fetch(new URL(button.dataset.action, location.href), {
        method: "POST", headers: { "content-type": "application/json" }, body: "{}",
      });
      const content = await answer.json().catch(() => ({}));
      if (!answer.ok) return report(content.detail || "That did not work; please try again.");
      location.assign(new URL(`?c=${encodeURIComponent(content.conversation)}`, home));
    } catch {
      report("The server could not be reached; please try again.");
    }
  });
})();
