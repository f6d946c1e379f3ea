/* The sidebar: beside the chat on wide windows, a drawer over it on narrow ones.
 *
 * An open drawer keeps the focus: the rest of the page is inert until it closes.
 */
(() => {
  "use strict";
  const { make, preferences } = window.cmw;
  const root = document.documentElement;
  const WIDE = matchMedia("(min-width: 1024px)");
  let side, opener, backdrop;

  const isDrawer = () => !WIDE.matches;
  const isOpen = () => root.classList.contains("cmw-side-open");

  function tell() {
    const isModal = isDrawer() && isOpen();
    opener.setAttribute("aria-expanded", String(isOpen()));
    side.setAttribute("role", isModal ? "dialog" : "complementary");
    if (isModal) side.setAttribute("aria-modal", "true");
    else side.removeAttribute("aria-modal");
    for (const rest of document.querySelectorAll("#cmw-main, .cmw-skip")) rest.inert = isModal;
    side.inert = !isOpen(); // also while a closed one still moves out of sight
    backdrop.hidden = !isModal;
  }

  // Until the drawer is drawn, nothing in it takes the focus.
  function focusInside() {
    const close = document.getElementById("cmw-side-close");
    close.focus();
    if (document.activeElement !== close && isOpen() && isDrawer()) requestAnimationFrame(focusInside);
  }

  function set(on) {
    if (on === isOpen()) return;
    const wasInside = side.contains(document.activeElement);
    root.classList.toggle("cmw-side-open", on);
    tell();
    if (!on && wasInside) opener.focus();
    if (on && isDrawer()) focusInside();
  }

  function press() {
    set(!isOpen());
    if (!isDrawer()) preferences.set("side", isOpen() ? "open" : "closed");
  }

  function build(found) {
    side = found;
    opener = document.getElementById("cmw-side-open");
    backdrop = make("div", { id: "cmw-backdrop", hidden: true });
    side.setAttribute("aria-label", window.cmw.t("Chats"));
    side.after(backdrop);
    tell();
    opener.addEventListener("click", press);
    backdrop.addEventListener("click", () => set(false));
    document.getElementById("cmw-side-close").addEventListener("click", () => set(false));
    document.getElementById("cmw-new-too").addEventListener("click", () => document.getElementById("cmw-new").click());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || !isDrawer() || !isOpen()) return;
      if (document.querySelector("dialog[open]")) return; // it closes itself, and stands above the drawer
      event.preventDefault();
      set(false);
    });
    WIDE.addEventListener("change", () => {
      root.classList.toggle("cmw-side-open", WIDE.matches && preferences.get("side") === "open");
      tell();
    });
    // Whoever has chosen a chat in the drawer wants to see it.
    document.addEventListener("cmw:opened", () => { if (isDrawer()) set(false); });
  }

  window.cmw.side = { isOpen, open: () => set(true), close: () => set(false), toggle: press, isDrawer };
  // The side stands in the page before what is drawn in it and in the header.
  window.cmw.when("#cmw-side-open", () => window.cmw.when("#cmw-side-close", () => window.cmw.when("#cmw-side", build)));
})();
