/* Menus in the top layer: arrows, Home, End and letters move in one, Escape and Tab close it. */
(() => {
  "use strict";

  function place(menu, opener) {
    const at = opener.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = menu;
    const isBelow = at.bottom + height + 8 <= innerHeight || at.top < height + 8;
    menu.style.top = `${Math.max(8, isBelow ? Math.min(at.bottom + 4, innerHeight - height - 8) : at.top - height - 4)}px`;
    menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  }

  function move(menu, event) {
    const items = [...menu.querySelectorAll("[role=menuitem]:not([hidden])")];
    const now = items.indexOf(document.activeElement);
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: -1 }[event.key];
    const letter = event.key.length === 1 && /\p{L}/u.test(event.key) ? event.key.toLowerCase() : null;
    if (to === undefined && !letter) return;
    event.preventDefault();
    const next = letter
      ? [...items.slice(now + 1), ...items].find((item) => item.textContent.trim().toLowerCase().startsWith(letter))
      : items.at(to % items.length);
    next?.focus();
  }

  // Shows `menu`, which stands in the page already, at the button that opens it; `close` takes it away.
  window.cmw.showMenu = (menu, opener, close) => {
    menu.popover = "manual";
    menu.showPopover();
    place(menu, opener);
    menu.querySelector("[role=menuitem]")?.focus();
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape" || event.key === "Tab") {
        if (event.key === "Escape") event.preventDefault();
        event.stopPropagation();
        close();
        opener.focus();
      } else move(menu, event);
    });
  };
})();
