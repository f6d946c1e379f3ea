/* The one script of a shared chat's page: draws its texts as the app's page does, and answers the
 * button that copies it for whoever reads. Without it the texts stand as they were written. */
(() => {
  "use strict";
  const { drawing } = document.currentScript.dataset;
  const { t } = window.cmwLanguage;

  async function draw() {
    const { TextView, drawPlain, styleSheet } = await import(new URL(drawing, location.href).href);
    document.adoptedStyleSheets.push(styleSheet());
    const isDark = matchMedia("(prefers-color-scheme: dark)");
    const setTheme = () => document.documentElement.classList.toggle("dark", isDark.matches);
    isDark.addEventListener("change", setTheme);
    setTheme();
    for (const text of document.querySelectorAll(".body")) {
      const written = text.textContent;
      text.classList.remove("plain");
      text.replaceChildren();
      if (text.closest(".user")) drawPlain(text, written);
      else new TextView(text, { kind: "share" }).update(written, true);
    }
  }

  draw().catch(() => {}); // then they stay as they are
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
      if (!answer.ok) return report(content.detail || t("That did not work; please try again."));
      location.assign(new URL(`?c=${encodeURIComponent(content.conversation)}`, home));
    } catch {
      report(t("The server could not be reached; please try again."));
    }
  });
})();
