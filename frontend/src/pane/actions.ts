/** What can be done with a message: the buttons below it. */
import { icon, iconButton, make } from "./dom";
import type { MessageParts, Rating } from "./types";
import { textOf } from "./types";

const COPIED_MS = 1_500;

/** What the buttons do; the pane does it. */
export interface Deeds {
  edit(message: MessageParts): void;
  retry(message: MessageParts): void;
  fork(seq: number): Promise<void>;
  select(seq: number): Promise<void>;
  rate(message: MessageParts, rating: Rating | null): void;
  say(text: string): void;
  fail(text: string): void;
}

/** What of a message its buttons depend on. */
export interface Can {
  readonly edit: boolean;
  readonly retry: boolean;
  readonly rate: boolean;
  readonly versions: readonly number[];
}

/** The Markdown of a message, without its steps and notes. */
export function copied(message: MessageParts): string {
  return message.parts.filter(({ metadata }) => !metadata?.kind).map(textOf).join("\n\n");
}

async function write(text: string): Promise<void> {
  if (navigator.clipboard) { await navigator.clipboard.writeText(text); return; }
  const area = make("textarea", { class: "sr-only" }); // where the page is not served securely
  area.value = text;
  document.body.append(area);
  area.select();
  const isWritten = document.execCommand("copy");
  area.remove();
  if (!isWritten) throw new Error("This browser copies nothing here.");
}

function copyButton(message: MessageParts, deeds: Deeds): HTMLElement {
  const button = iconButton("copy", "Copy message", () => {
    write(copied(message)).then(() => {
      button.replaceChildren(icon("done"));
      deeds.say("Copied.");
      setTimeout(() => button.replaceChildren(icon("copy")), COPIED_MS);
    }).catch((error: Error) => deeds.fail(error.message));
  });
  return button;
}

// While its request runs, it cannot be pressed again; a button that is disabled would lose the focus.
function guarded(button: HTMLButtonElement, work: () => Promise<void>, deeds: Deeds): HTMLButtonElement {
  let isBusy = false;
  button.addEventListener("click", () => {
    if (isBusy) return;
    isBusy = true;
    deeds.fail("");
    work().catch((error: Error) => deeds.fail(error.message)).finally(() => { isBusy = false; });
  });
  return changing(button);
}

function changing(button: HTMLButtonElement): HTMLButtonElement {
  button.dataset["changes"] = ""; // not while an answer is being written
  return button;
}

function rateButton(message: MessageParts, rating: Rating, deeds: Deeds): HTMLElement {
  const name = rating === "like" ? "Like" : "Dislike";
  const isGiven = message.parts[0]?.metadata?.rating === rating;
  const button = iconButton(rating, name, () => deeds.rate(message, isGiven ? null : rating));
  button.classList.add("cmw-rate");
  button.setAttribute("aria-pressed", String(isGiven));
  return button;
}

function versionButtons(message: MessageParts, versions: readonly number[], deeds: Deeds): HTMLElement[] {
  const index = versions.indexOf(message.seq ?? 0);
  if (versions.length < 2 || index < 0) return [];
  const name = message.role === "user" ? "message" : "answer";
  const step = (label: string, text: string, to: number | undefined) => {
    const attributes = { type: "button", class: "cmw-icon", "aria-label": label, title: label };
    const button = make("button", attributes, text);
    if (to === undefined) button.disabled = true;
    else guarded(button, () => deeds.select(to), deeds);
    return button;
  };
  const count = make("span", { class: "cmw-version", role: "img", "aria-label": `Version ${index + 1} of ${versions.length}` },
    `${index + 1}/${versions.length}`);
  return [step(`Previous version of the ${name}`, "‹", versions[index - 1]), count,
    step(`Next version of the ${name}`, "›", versions[index + 1])];
}

/** The buttons below a message. */
export function actionsOf(message: MessageParts, can: Can, deeds: Deeds): HTMLElement[] {
  const buttons: HTMLElement[] = copied(message) ? [copyButton(message, deeds)] : [];
  if (can.edit) buttons.push(changing(iconButton("edit", "Edit", () => deeds.edit(message))));
  if (can.retry) buttons.push(changing(iconButton("retry", "Retry", () => deeds.retry(message))));
  const { seq } = message;
  if (message.role === "assistant" && seq !== null && can.versions.includes(seq)) {
    buttons.push(guarded(iconButton("fork", "Fork from here", () => {}), () => deeds.fork(seq), deeds));
  }
  if (can.rate) buttons.push(rateButton(message, "like", deeds), rateButton(message, "dislike", deeds));
  return [...buttons, ...versionButtons(message, can.versions, deeds)];
}
