/** What an empty chat shows: a greeting, and examples that fill the box. */
import { make } from "./dom";

export function emptyChat(place: HTMLElement): HTMLElement {
  const examples = JSON.parse(place.dataset["examples"] ?? "[]") as string[];
  const buttons = examples.map((text) => {
    const button = make("button", { type: "button", class: "cmw-example" }, text);
    button.addEventListener("click", () => {
      window.cmw.drafts.fill(text);
      window.cmw.box()?.focus();
    });
    return button;
  });
  return make("div", { class: "cmw-empty-chat" },
    make("h2", {}, place.dataset["welcome"] ?? ""), make("div", { class: "cmw-examples" }, ...buttons));
}
