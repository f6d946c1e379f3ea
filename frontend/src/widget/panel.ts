/** What is seen of the widget: a button, and a panel with the conversation and the box. */
import { make } from "../pane/dom";
import { Follow } from "../pane/follow";
import { drawPlain } from "../text/plain";
import type { Answer } from "./answer";
import type { Words } from "./words";

const MAX_BOX_HEIGHT = 140; // pixels
const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  chat: "M4 4h16a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H9l-5 4v-4a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2z",
  close: "M5 5l14 14M19 5L5 19",
  fresh: "M12 5v14M5 12h14",
  send: "M3 11.5L21 3l-6.5 18-3.5-8z",
  stop: "M5 5h14v14H5z",
};

/** What the buttons and the box do. */
export interface PanelActions {
  submit(): void;
  stop(): void;
  begin(): void;
  toggle(): void;
  close(): void;
}

function icon(name: keyof typeof ICONS): SVGSVGElement {
  const picture = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  picture.setAttribute("viewBox", "0 0 24 24");
  picture.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  picture.append(path);
  return picture;
}

function button(name: keyof typeof ICONS, text: string, press?: () => void): HTMLButtonElement {
  const attributes = { type: press ? "button" : "submit", class: `icon ${name}`, title: text, "aria-label": text };
  return make("button", { ...attributes, ...(press && { click: press }) }, icon(name));
}

export class Panel {
  readonly root: HTMLElement;
  readonly element: HTMLElement;
  readonly bubble: HTMLButtonElement;
  readonly box: HTMLTextAreaElement;
  readonly approvals = make("div", { class: "asks", "aria-live": "polite" });
  readonly follow: Follow;
  private readonly title: HTMLElement;
  private readonly log: HTMLElement;
  private readonly rows = make("div", { class: "rows" });
  private readonly status = make("p", { class: "status", role: "status" });
  private readonly sending: HTMLButtonElement;
  private readonly stopping: HTMLButtonElement;
  private readonly answers = new Set<Answer>();

  /**
   * @param isPage Whether it is the chat's own page, which has no button.
   * @param title The site's own title; the agent's name where it is empty.
   */
  constructor(private readonly words: Words, actions: PanelActions, private readonly isPage: boolean, private readonly ownTitle: string) {
    this.title = make("h2", { id: "title" }, ownTitle || "Chat");
    this.log = make("div", { class: "log", role: "log", tabindex: "0", "aria-label": words.log, "aria-live": "polite" }, this.rows);
    this.follow = new Follow(this.log, this.rows);
    this.follow.button.className = "latest";
    this.follow.button.textContent = words.latest;
    this.box = make("textarea", { rows: "1", placeholder: words.hint, "aria-label": words.box, enterkeyhint: "send", dir: "auto" });
    this.sending = button("send", words.send);
    this.stopping = button("stop", words.stop, actions.stop);
    this.bubble = button("chat", words.open, actions.toggle);
    const form = make("form", {}, this.box, this.sending, this.stopping);
    const head = make("header", {}, this.title, button("fresh", words.fresh, actions.begin));
    const view = make("div", { class: "view" }, this.log, this.follow.button);
    this.element = make("section", { id: "panel", class: "panel", "aria-labelledby": "title" }, head, view, this.approvals, this.status, form);
    this.root = make("div", { class: "root", dir: "ltr" }, this.element);
    this.stopping.hidden = true;
    if (isPage) this.asPage();
    else this.asDialog(head, actions);
    this.listen(form, actions);
  }

  named(name: string): void {
    if (!this.ownTitle) this.title.textContent = name;
  }

  /** Show a sentence above the box; an empty one takes it away. */
  say(sentence: string): void {
    this.status.textContent = sentence;
  }

  busy(isBusy: boolean): void {
    const root = this.root.getRootNode() as ShadowRoot;
    this.log.setAttribute("aria-busy", String(isBusy));
    if (root.activeElement === (isBusy ? this.sending : this.stopping)) this.box.focus();
    this.sending.hidden = isBusy;
    this.stopping.hidden = !isBusy;
  }

  /** Take everything off, and show a sentence in its place. */
  clear(sentence = this.words.hello): void {
    for (const answer of this.answers) answer.destroy();
    this.answers.clear();
    this.rows.replaceChildren(make("p", { class: "hello" }, sentence));
    this.approvals.replaceChildren();
    this.say("");
    this.follow.toEnd();
  }

  add(row: HTMLElement): void {
    this.rows.querySelector(".hello")?.remove();
    this.rows.append(row);
    this.follow.toEnd();
  }

  /** Show what the visitor has written, exactly as it was typed. */
  question(text: string): void {
    const own = make("div", { class: "own" });
    drawPlain(own, text);
    this.add(make("div", { class: "said", dir: "auto" }, make("span", { class: "ear" }, `${this.words.you}: `), own));
  }

  answer(answer: Answer): void {
    this.answers.add(answer);
    this.add(answer.row);
  }

  /** Draw the texts of all answers once more. */
  redraw(): void {
    for (const answer of this.answers) answer.draw();
  }

  /** No older answer can be asked for anew. */
  withdrawRetries(): void {
    for (const old of this.rows.querySelectorAll(".retry")) old.remove();
  }

  grow(): void {
    this.box.style.height = "auto";
    this.box.style.height = `${Math.min(this.box.scrollHeight, MAX_BOX_HEIGHT)}px`;
  }

  show(isShown: boolean): void {
    if (!this.isPage) this.element.hidden = !isShown;
    this.root.classList.toggle("is-open", isShown);
    this.bubble.setAttribute("aria-expanded", String(isShown));
    this.bubble.setAttribute("aria-label", isShown ? this.words.close : this.words.open);
    (isShown ? this.box : this.bubble).focus();
  }

  private asPage(): void {
    this.root.classList.add("page");
    this.element.setAttribute("role", "main");
  }

  private asDialog(head: HTMLElement, actions: PanelActions): void {
    this.bubble.className = "bubble";
    this.bubble.setAttribute("aria-expanded", "false");
    this.bubble.setAttribute("aria-controls", "panel");
    this.element.setAttribute("role", "dialog");
    this.element.hidden = true;
    head.append(button("close", this.words.close, actions.close));
    this.root.append(this.bubble);
    this.root.addEventListener("keydown", ({ key }) => { if (key === "Escape" && !this.element.hidden) actions.close(); });
  }

  private listen(form: HTMLFormElement, actions: PanelActions): void {
    form.addEventListener("submit", (event) => { event.preventDefault(); actions.submit(); });
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      actions.submit();
    });
    this.box.addEventListener("input", () => this.grow());
    // The page's own keys are not for what is typed here.
    for (const name of ["keydown", "keyup", "keypress"]) this.root.addEventListener(name, (event) => event.stopPropagation());
  }
}
