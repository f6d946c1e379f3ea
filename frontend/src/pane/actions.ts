/** What can be done with a message: the buttons below it. */
import { t } from "../language";
import { copyText } from "../text/clipboard";
import { showDetails } from "./details";
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
  /** Put what was being edited into the message box, which stores it. */
  keep(texts: readonly string[]): void;
  /** Read a message aloud, or stop. */
  speak(message: MessageParts): void;
  say(text: string): void;
  fail(text: string): void;
}

/** What of a message its buttons depend on. */
export interface Can {
  readonly edit: boolean;
  readonly retry: boolean;
  readonly rate: boolean;
  readonly details: boolean;
  readonly speak: "no" | "yes" | "now";
  readonly versions: readonly number[];
}

/** The Markdown of a message, without its steps and notes. */
export function copied(message: MessageParts): string {
  return message.parts.filter(({ metadata }) => !metadata?.kind).map(textOf).join("\n\n");
}

async function write(text: string): Promise<void> {
  if (!(await copyText(text))) throw new Error(t("This browser copies nothing here."));
}

function copyButton(message: MessageParts, deeds: Deeds): HTMLElement {
  const button = iconButton("copy", t("Copy message"), () => {
    write(copied(message)).then(() => {
      button.replaceChildren(icon("done"));
      deeds.say(t("Copied."));
      setTimeout(() => button.replaceChildren(icon("copy")), COPIED_MS);
    }).catch((error: Error) => deeds.fail(error.message));
  });
  return button;
}

function speakButton(message: MessageParts, isRead: boolean, deeds: Deeds): HTMLElement {
  const button = iconButton(isRead ? "silence" : "speak", t("Read aloud"), () => deeds.speak(message));
  button.setAttribute("aria-pressed", String(isRead));
  if (isRead) button.title = t("Stop reading");
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

function detailsButton(seq: number, deeds: Deeds): HTMLElement {
  const button = iconButton("details", t("Details"), () => {
    deeds.fail("");
    showDetails(seq, button).catch((error: Error) => deeds.fail(error.message));
  });
  button.setAttribute("aria-haspopup", "dialog");
  return button;
}

function rateButton(message: MessageParts, rating: Rating, deeds: Deeds): HTMLElement {
  const name = rating === "like" ? t("Like") : t("Dislike");
  const isGiven = message.parts[0]?.metadata?.rating === rating;
  const button = iconButton(rating, name, () => deeds.rate(message, isGiven ? null : rating));
  button.classList.add("cmw-rate");
  button.setAttribute("aria-pressed", String(isGiven));
  return button;
}

function versionButtons(message: MessageParts, versions: readonly number[], deeds: Deeds): HTMLElement[] {
  const index = versions.indexOf(message.seq ?? 0);
  if (versions.length < 2 || index < 0) return [];
  const isOwn = message.role === "user";
  const step = (label: string, text: string, to: number | undefined) => {
    const attributes = { type: "button", class: "cmw-icon", "aria-label": label, title: label };
    const button = make("button", attributes, text);
    if (to === undefined) button.disabled = true;
    else guarded(button, () => deeds.select(to), deeds);
    return button;
  };
  const count = make("span", { class: "cmw-version", role: "img", "aria-label": t("Version {index} of {count}", { index: index + 1, count: versions.length }) },
    `${index + 1}/${versions.length}`);
  const before = isOwn ? t("Previous version of the message") : t("Previous version of the answer");
  const after = isOwn ? t("Next version of the message") : t("Next version of the answer");
  return [step(before, "‹", versions[index - 1]), count, step(after, "›", versions[index + 1])];
}

/** The buttons below a message. */
export function actionsOf(message: MessageParts, can: Can, deeds: Deeds): HTMLElement[] {
  const buttons: HTMLElement[] = copied(message) ? [copyButton(message, deeds)] : [];
  if (can.speak !== "no") buttons.push(speakButton(message, can.speak === "now", deeds));
  if (can.edit) buttons.push(changing(iconButton("edit", t("Edit"), () => deeds.edit(message))));
  if (can.retry) buttons.push(changing(iconButton("retry", t("Retry"), () => deeds.retry(message))));
  const { seq } = message;
  if (message.role === "assistant" && seq !== null && can.versions.includes(seq)) {
    buttons.push(guarded(iconButton("fork", t("Fork from here"), () => {}), () => deeds.fork(seq), deeds));
  }
  if (can.rate) buttons.push(rateButton(message, "like", deeds), rateButton(message, "dislike", deeds));
  if (can.details && seq !== null) buttons.push(detailsButton(seq, deeds));
  return [...buttons, ...versionButtons(message, can.versions, deeds)];
}
