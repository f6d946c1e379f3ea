/* The page's first picture and an empty chat: welcome text, examples, the look of the chat's agent. */
(() => {
  "use strict";
  const { make, box, conversation, t } = window.cmw;
  const shownLook = JSON.parse(document.getElementById("cmw-look").textContent);
  let look = shownLook;
  let welcome, examples, chat;

  const hasMessages = () => chat.querySelector("[data-testid=user], [data-testid=user-files], [data-testid=bot]") !== null;

  // A conversation that is still to come has messages.
  function show() {
    const isEmpty = !conversation() && !hasMessages();
    document.body.classList.toggle("cmw-empty", isEmpty);
  }

  function fill() {
    welcome.textContent = look.welcome;
    examples.replaceChildren(...look.examples.map((text) => {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => {
        const input = box();
        input.value = text;
        input.dispatchEvent(new Event("input", { bubbles: true }));
        input.focus();
      });
      return make("li", {}, button);
    }));
  }

  function brand() {
    const place = document.querySelector(".cmw-brand");
    place?.querySelector("#cmw-logo")?.remove();
    if (look.logo) place?.prepend(make("img", { id: "cmw-logo", alt: "", src: look.logo }));
    const foot = document.querySelector(".cmw-foot");
    if (foot) foot.textContent = look.footer;
    document.getElementById("cmw-colours").textContent = look.colours;
    document.querySelector("link[rel=icon]").href = look.icon;
  }

  window.cmw.look = () => look;
  // Another agent answers from now on.
  window.cmw.setLook = (found) => {
    if (found.agent === look.agent) return;
    look = found;
    fill();
    brand();
    window.cmw.fire("look");
  };

  // Gradio draws these as the settings say; the agent of the page may look otherwise.
  for (const part of [".cmw-brand", ".cmw-foot"]) window.cmw.when(part, brand);
  window.cmw.when("#cmw-chat", (found) => {
    chat = found;
    welcome = make("h2", {});
    examples = make("ul", { "aria-label": t("Examples") });
    chat.before(make("section", { id: "cmw-welcome", "aria-label": t("Welcome") }, welcome, examples));
    fill();
    show();
    new MutationObserver(show).observe(chat, { childList: true, subtree: true });
    for (const name of ["opened", "leaving", "named"]) document.addEventListener(`cmw:${name}`, show);
    // Two frames, so that what other scripts put around the box is there and nothing moves.
    window.cmw.when("#cmw-input textarea", () => window.cmw.when(".cmw-history", () => window.cmw.styled.then(() => {
      requestAnimationFrame(() => requestAnimationFrame(window.cmw.showPage));
    })));
  });
})();
