/* Runs before anything is drawn: how this browser's user wants the page to look and to behave.
 *
 * It is known before the server has said who the user is, or the page would flash; so it is stored for
 * the browser, and holds nothing of what anybody writes.
 */
(() => {
  "use strict";
  const KEY = "cmw.preferences";
  const DEFAULTS = { theme: "system", size: "100", enter: "auto", zone: "", side: "open", language: "" };
  const CHOICES = {
    theme: ["system", "light", "dark"], size: ["90", "100", "115", "130"],
    enter: ["auto", "send", "newline"], side: ["open", "closed"],
  };
  const GROUNDS = { light: "#f8fafc", dark: "#0a0f1e" };
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isWide = matchMedia("(min-width: 1024px)");
  let stored = {};
  try { stored = JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { /* storage is refused, or not ours */ }

  function get(name) {
    const value = stored[name];
    const isKnown = typeof value === "string" && (CHOICES[name]?.includes(value) ?? true);
    return isKnown ? value : DEFAULTS[name];
  }

  const isDark = () => (get("theme") === "system" ? prefersDark.matches : get("theme") === "dark");

  function apply() {
    root.classList.toggle("cmw-dark", isDark());
    // Gradio sets the class by the system's theme alone.
    if (document.body && document.body.classList.contains("dark") !== isDark()) {
      document.body.classList.toggle("dark", isDark());
    }
    root.style.fontSize = get("size") === DEFAULTS.size ? "" : `${get("size")}%`;
    document.querySelector("meta[name=theme-color]")?.setAttribute("content", GROUNDS[isDark() ? "dark" : "light"]);
  }

  function watchBody() {
    if (!document.body) return;
    waiting.disconnect();
    new MutationObserver(apply).observe(document.body, { attributeFilter: ["class"] });
    apply();
  }
  const waiting = new MutationObserver(watchBody);
  waiting.observe(root, { childList: true });
  prefersDark.addEventListener("change", apply);
  window.addEventListener("storage", ({ key, newValue }) => {
    if (key !== KEY) return;
    try { stored = JSON.parse(newValue) ?? {}; } catch { return; }
    apply();
  });

  window.cmw.preferences = {
    get,
    set(name, value) {
      stored = { ...stored, [name]: value };
      try { localStorage.setItem(KEY, JSON.stringify(stored)); } catch { /* it lasts as long as the page */ }
      apply();
      window.cmw.fire("preference", name);
    },
    // The user's choice, else the browser's; the server takes it for recurring tasks.
    zone: () => get("zone") || Intl.DateTimeFormat().resolvedOptions().timeZone || "",
    isWide: () => isWide.matches,
  };

  apply();
  if (isWide.matches && get("side") === "open") root.classList.add("cmw-side-open");
})();
