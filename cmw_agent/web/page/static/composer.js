/* The box: its tools, which key sends, what Escape does, where the focus goes, a phone's keyboard. */
(() => {
  "use strict";
  const { box, enterSends } = window.cmw;
  const TOUCH = matchMedia("(hover: none) and (pointer: coarse)");
  const OVERLAYS = "dialog[open], [popover]:popover-open";
  const root = document.documentElement;

  function hint() {
    box()?.setAttribute("enterkeyhint", enterSends() ? "send" : "enter");
  }

  function build(input) {
    hint();
    window.cmw.when("#cmw-tools", (tools) => input.querySelector("label").before(tools));
    // Gradio takes Enter for itself, and no line would begin.
    input.addEventListener("keypress", (event) => {
      if (event.target === box() && event.key === "Enter" && !window.cmw.sends(event)) event.stopPropagation();
    }, true);
    input.addEventListener("click", (event) => {
      // The button goes, and the focus with it.
      if (event.target.closest("[data-testid=stop-button]") && !TOUCH.matches) box()?.focus();
    });
  }

  document.addEventListener("cmw:preference", hint);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !window.cmw.running()) return;
    if (event.isComposing || document.querySelector(OVERLAYS)) return;
    const isElsewhere = event.target.matches?.("input, textarea, select") && event.target !== box();
    if (isElsewhere || (window.cmw.side.isDrawer() && window.cmw.side.isOpen())) return;
    const stop = document.querySelector("#cmw-input [data-testid=stop-button]");
    if (!stop || stop.disabled) return;
    event.preventDefault();
    stop.click();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.(".cmw-skip")) return;
    event.preventDefault();
    box()?.focus();
  });

  // Where the browser lays its keyboard over the page instead of making the page smaller.
  const view = window.visualViewport;
  function fit() {
    const isCovered = view.scale === 1 && view.height < innerHeight - 60;
    if (isCovered) {
      root.style.setProperty("--cmw-height", `${view.height}px`);
      scrollTo(0, 0);
    } else root.style.removeProperty("--cmw-height");
  }
  view?.addEventListener("resize", fit);

  window.cmw.when("#cmw-input", build);
})();
