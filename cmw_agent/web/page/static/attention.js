/* Says in the tab's title and icon that an answer has come while the tab was out of sight. */
(() => {
  "use strict";
  const MARK = "● Answer ready – ";
  const DOT = "%3Ccircle cx='26' cy='6' r='6' fill='%23e8590c'/%3E%3C/svg%3E";
  const icon = document.querySelector("link[rel=icon]");
  const plain = icon?.getAttribute("href");

  function set(on) {
    const title = document.title.replace(MARK, "");
    document.title = on ? MARK + title : title;
    icon?.setAttribute("href", on ? plain.replace("%3C/svg%3E", DOT) : plain);
  }

  document.addEventListener("cmw:idle", ({ detail: isDone }) => { if (isDone && document.hidden) set(true); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) set(false); });
})();
