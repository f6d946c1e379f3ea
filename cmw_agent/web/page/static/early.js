/* The box of the page's first picture, which stands before the page itself has been drawn.
 *
 * What is written there goes into the page's own box once that is there, with focus and selection, and
 * is sent then if it was to be sent.
 */
(() => {
  "use strict";
  const { preferences, t } = window.cmw;
  const LATE_MS = 15_000; // after which the page is shown though not all of its parts have come
  const LATER = t("This message is sent as soon as the page is ready.");
  const root = document.documentElement;
  const touch = matchMedia("(hover: none) and (pointer: coarse)");
  let isSubmitted = false;
  let isComposing = false;
  let isWanted = false; // the page is ready to be shown

  const field = () => document.querySelector("#cmw-first textarea");
  const pageBox = () => document.querySelector("#cmw-input textarea");

  function submit() {
    const input = field();
    if (!input?.value.trim() || isSubmitted) return;
    isSubmitted = input.readOnly = true;
    document.querySelector("#cmw-first output").textContent = LATER;
  }

  function handOver(input, box) {
    const isFocused = document.activeElement === input || document.activeElement === document.body;
    if (input.value) {
      box.value = input.value;
      box.dispatchEvent(new Event("input", { bubbles: true }));
      box.setSelectionRange(input.selectionStart, input.selectionEnd);
    }
    if (isFocused) box.focus({ preventScroll: true });
    if (isSubmitted) {
      window.cmw.store.ready.then(() => document.querySelector("#cmw-input [data-testid=submit-button]")?.click());
    }
  }

  // Shows the page instead of its first picture; while a character is being composed, after it.
  function show() {
    isWanted = true;
    const box = pageBox();
    if (isComposing || !box || document.body.classList.contains("cmw-shown")) return;
    document.body.classList.add("cmw-shown");
    const input = field();
    if (input) handOver(input, box);
    document.getElementById("cmw-first")?.remove();
  }

  const enterSends = () => {
    const wanted = preferences.get("enter");
    return wanted === "auto" ? !touch.matches : wanted === "send";
  };

  // Whether a key that is pressed in a message box sends its text.
  function sends(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return false;
    return event.ctrlKey || event.metaKey || enterSends();
  }

  const isIn = ({ target }) => Boolean(target.closest?.("#cmw-first"));
  document.addEventListener("keydown", (event) => {
    if (!isIn(event) || !sends(event) || event.target !== field()) return;
    event.preventDefault();
    submit();
  });
  document.addEventListener("submit", (event) => {
    if (!isIn(event)) return;
    event.preventDefault();
    submit();
  });
  document.addEventListener("compositionstart", (event) => { isComposing = isIn(event); });
  document.addEventListener("compositionend", () => {
    isComposing = false;
    if (isWanted) setTimeout(show);
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.(".cmw-skip") || !field()) return;
    event.preventDefault();
    field().focus();
  });

  // The page's style sheets come beside its first picture, which does not wait for them: a browser draws
  // nothing before a sheet that it finds in the document, but does before one that a script has added.
  function addStyles() {
    return Promise.all([...document.querySelectorAll("link[data-late]")].map((early) => {
      const link = document.createElement("link");
      const isLoaded = new Promise((resolve) => {
        for (const event of ["load", "error"]) link.addEventListener(event, resolve);
      });
      link.rel = "stylesheet";
      link.setAttribute("href", early.getAttribute("href")); // Gradio's script looks for its own by this text
      early.replaceWith(link);
      return isLoaded;
    }));
  }

  root.classList.add("cmw-scripts");
  root.classList.toggle("cmw-names-chat", new URL(location.href).searchParams.has("c"));
  const styled = new Promise((resolve) => {
    document.addEventListener("readystatechange", () => resolve(addStyles()), { once: true });
  });
  setTimeout(function late() {
    show();
    if (!document.body.classList.contains("cmw-shown")) setTimeout(late, 1_000);
  }, LATE_MS);
  Object.assign(window.cmw, { enterSends, sends, styled, showPage: show });
})();
