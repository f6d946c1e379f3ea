/** The parts of a message, each drawn by a component of its own. */
import { lasting, t } from "../language";
import { TextView, drawPlain } from "../text/index";
import { icon, make, pressHidden } from "./dom";
import type { Icon } from "./dom";
import { drawFiles } from "./pictures";
import { textOf } from "./types";
import type { Part } from "./types";

const TICKET = /^connections\/connect\?ticket=[\w-]{43}$/;
const SIGN = /^[^\p{L}\p{N}_]+/u; // before a title, for programs: an icon stands here
const STEP_ICONS: Record<string, Icon> = { approval: "approval", failed: "failed" };
const LONG_LINES = 16; // a user's message with more of them is folded
const LONG_CHARS = 1_600;

/** One part on the page. */
export interface PartView {
  readonly element: HTMLElement;
  /** Draw the part; `isEnded` says that it grows no more. */
  update(part: Part, isEnded: boolean): void;
  destroy(): void;
}

class AnswerText implements PartView {
  readonly element = make("div", { class: "cmw-answer", "data-testid": "bot", dir: "auto" });
  private view: TextView | null = null;
  private hasEnded = false;

  update(part: Part, isEnded: boolean): void {
    if (this.hasEnded && !isEnded) this.destroy();
    this.hasEnded = isEnded;
    this.view ??= new TextView(this.element, { kind: "answer" });
    this.view.update(textOf(part), isEnded);
  }

  destroy(): void {
    this.view?.destroy();
    this.view = null;
  }
}

class OwnText implements PartView {
  readonly element = make("div", { class: "cmw-bubble" });
  private readonly text = make("div", { class: "cmw-own", "data-testid": "user", dir: "auto" });
  private shown: string | null = null;

  constructor() { this.element.append(this.text); }

  update(part: Part): void {
    const text = textOf(part);
    if (text === this.shown) return;
    this.shown = text;
    drawPlain(this.text, text);
    this.element.querySelector(".cmw-unfold")?.remove();
    const isLong = text.length > LONG_CHARS || text.split("\n").length > LONG_LINES;
    this.text.classList.toggle("cmw-folded", isLong);
    if (isLong) this.element.append(this.unfold());
  }

  private unfold(): HTMLElement {
    const button = make("button", { type: "button", class: "cmw-unfold", "aria-expanded": "false" }, t("Show all"));
    button.addEventListener("click", () => {
      const isFolded = this.text.classList.toggle("cmw-folded");
      button.setAttribute("aria-expanded", String(!isFolded));
      button.textContent = isFolded ? t("Show all") : t("Show less");
    });
    return button;
  }

  destroy(): void {}
}

/** A tool call or thoughts: their title, and what is in them once it is opened. */
class Step implements PartView {
  readonly element = make("div", { class: "cmw-step" });
  private readonly icon = make("span", { class: "cmw-step-icon" });
  private readonly title = make("span", { class: "cmw-step-title" });
  private readonly progress = make("span", { class: "cmw-step-progress", dir: "auto" });
  private readonly seconds = make("span", { class: "cmw-seconds" });
  private readonly head = make("button", { type: "button", class: "cmw-step-head", "aria-expanded": "false" });
  private readonly content = make("div", { class: "cmw-step-content", dir: "auto" });
  private view: TextView | null = null;
  private part: Part | null = null;
  private isEnded = false;

  constructor() {
    this.head.append(this.icon, this.title, this.progress, this.seconds);
    this.head.addEventListener("click", () => this.toggle());
    this.element.append(this.head);
  }

  update(part: Part, isEnded: boolean): void {
    const { kind, state = "done", title = "", duration, progress = "" } = part.metadata ?? {};
    this.part = part;
    this.isEnded = isEnded || state !== "running";
    this.element.dataset["kind"] = kind;
    this.element.dataset["state"] = this.isEnded && state === "running" ? "done" : state;
    this.icon.replaceChildren(icon(kind === "thoughts" ? "thoughts" : STEP_ICONS[state] ?? "tool"));
    this.title.textContent = state === "failed" ? t("{title} failed", { title: title.replace(SIGN, "") }) : title.replace(SIGN, "");
    if (this.isEnded) this.seconds.textContent = duration ? lasting(duration) : "";
    this.progress.textContent = this.isEnded ? "" : progress;
    this.draw();
  }

  private toggle(): void {
    const isOpen = !this.content.isConnected;
    this.head.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) this.element.append(this.content);
    else this.content.remove();
    this.draw();
  }

  private draw(): void {
    if (!this.content.isConnected || !this.part) return;
    const kind = this.part.metadata?.kind === "thoughts" ? "thoughts" : "answer";
    this.view ??= new TextView(this.content, { kind });
    this.view.update(textOf(this.part), this.isEnded);
  }

  destroy(): void { this.view?.destroy(); }
}

/** A part that is drawn anew whenever it changes. */
class Simple implements PartView {
  readonly element: HTMLElement;

  constructor(
    tag: "div" | "p" | "ol",
    attributes: Record<string, string>,
    private readonly draw: (host: HTMLElement, part: Part) => void,
  ) {
    this.element = make(tag, attributes);
  }

  update(part: Part): void { this.draw(this.element, part); }

  destroy(): void {}
}

function drawNote(host: HTMLElement, { metadata, options }: Part): void {
  const { outcome = "complete", sentence = "", error } = metadata ?? {};
  const id = error ? [` (${t("error")} `, make("code", {}, error), ")"] : [];
  const buttons = (options ?? []).map(({ label }) =>
    make("button", { type: "button", class: "cmw-continue", "data-changes": "", click: () => pressHidden("cmw-continue") }, label));
  host.dataset["outcome"] = outcome;
  host.replaceChildren(make("span", {}, sentence, ...id), ...buttons);
}

function drawConnect(host: HTMLElement, { metadata }: Part): void {
  const link = metadata?.link ?? "";
  const button = make("a", { class: "cmw-follow", target: "_blank", rel: "noopener" }, t("Connect your account"));
  if (TICKET.test(link)) button.setAttribute("href", link);
  host.replaceChildren(make("span", { class: "cmw-step-title" }, (metadata?.title ?? "").replace(SIGN, "")), button);
}

function drawSources(host: HTMLElement, { metadata }: Part): void {
  host.replaceChildren(...(metadata?.sources ?? []).map(({ title, url }) => {
    if (!url || !/^https?:/i.test(url)) return make("li", {}, make("bdi", {}, title));
    const link = make("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, make("bdi", {}, title));
    return make("li", {}, link);
  }));
}

const BOT = { "data-testid": "bot" };

/** The component for a part of this kind and role. */
export function viewOf({ role, metadata }: Part): PartView {
  switch (metadata?.kind) {
    case "tool":
    case "thoughts": return new Step();
    case "waiting": return new Simple("p", { class: "cmw-waiting", ...BOT }, (host) => {
      host.setAttribute("aria-label", t("The answer is on its way"));
      host.replaceChildren("…");
    });
    case "connect": return new Simple("div", { class: "cmw-panel cmw-connect" }, drawConnect);
    case "sources": return new Simple("ol", { class: "cmw-sources", "aria-label": t("Sources"), ...BOT }, drawSources);
    case "note": return new Simple("div", { class: "cmw-outcome", ...BOT }, drawNote);
    case "switch": return new Simple("p", { class: "cmw-switched", ...BOT }, (host, part) => {
      host.replaceChildren(make("bdi", {}, `${part.metadata?.sentence ?? ""}`));
    });
    case "files": return new Simple("div", { class: "cmw-shown-files", "data-testid": role === "user" ? "user-files" : "bot" },
      (host, part) => drawFiles(host, part.metadata?.files ?? []));
    default: return role === "user" ? new OwnText() : new AnswerText();
  }
}

/** What tells apart parts that cannot be drawn by the same component. */
export function kindOf({ role, metadata }: Part): string {
  return `${role} ${metadata?.kind ?? "text"}`;
}
