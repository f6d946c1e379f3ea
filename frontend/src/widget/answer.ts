/** One answer in the widget: its steps, its text, its sources and how it ended. */
import { make } from "../pane/dom";
import { copyText } from "../text/clipboard";
import { makeLink, REL, isWebLink } from "../text/links";
import { drawPlain } from "../text/plain";
import type { TextView } from "../text/view";
import type { Formatting } from "./formatting";
import type { Source, ToolStep } from "./server";
import type { Words } from "./words";

const FRAME_MS = 40; // between two drawings of a growing answer
const COPIED_MS = 2_000; // how long the button says so

function webLink(address: string, text: string): HTMLAnchorElement | null {
  return /^https?:/i.test(address) && isWebLink(address) ? makeLink(address, text, REL) : null;
}

export class Answer {
  readonly row: HTMLElement;
  waits = false; // for an approval
  isWhole = true;
  note = "";
  private text = "";
  private isEnded = false;
  private view: TextView | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private readonly steps = new Map<string | number, HTMLElement>();
  private readonly tools = make("div", { class: "tools" });
  private readonly body = make("div", { class: "text", dir: "auto" });
  private readonly dots: HTMLElement;
  private readonly sources = make("ol", { class: "sources" });
  private readonly foot = make("p", { class: "foot" });
  private readonly copy: HTMLElement;
  private copied: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly words: Words, private readonly formatting: Formatting) {
    this.dots = make("p", { class: "dots", role: "img", "aria-label": words.thinking }, make("i"), make("i"), make("i"));
    this.copy = make("button", { type: "button", class: "copy", hidden: true, click: () => void this.copyAll() }, words.copy);
    this.row = make("article", { class: "answer" }, this.tools, this.body, this.sources, this.dots, this.copy, this.foot);
  }

  /** The answer begins; also once more, when it is sent again from its beginning. */
  begin(): void {
    this.stop();
    this.text = "";
    this.isEnded = false;
    this.steps.clear();
    for (const part of [this.tools, this.sources, this.foot]) part.replaceChildren();
    this.dots.hidden = false;
    this.copy.hidden = true;
    this.draw();
  }

  add(text: string): void {
    this.text += text;
    this.timer ??= setTimeout(() => { this.timer = null; this.draw(); }, FRAME_MS);
  }

  /** The text so far becomes this one: the rest was the model's thoughts. */
  replace(text: string): void {
    this.text = text;
    this.draw();
  }

  cite(sources: readonly Source[]): void {
    this.sources.append(...sources.map(({ url, title }) => make("li", {}, webLink(url, title || url) ?? (title || "?"))));
  }

  step({ call, name, ok, seconds = 0, link, answer }: ToolStep): void {
    const line = this.steps.get(call) ?? make("p", { class: "step" });
    this.steps.set(call, line);
    const mark = ok === undefined ? "…" : ok ? "✓" : "✗";
    const took = seconds >= .1 ? ` · ${seconds.toFixed(1)} s` : "";
    line.textContent = `${mark} ${name}${took}${answer ? ` · ${this.words[answer]}` : ""}`;
    this.tools.append(line);
    const opening = link ? webLink(link, this.words.connect) : null;
    if (!opening) return;
    opening.className = "connect";
    line.after(opening);
  }

  /** Wait for more of it. */
  wait(): void {
    this.end("");
    this.dots.hidden = false;
    this.copy.hidden = true;
  }

  /** The answer has ended, with a note; `again` asks for it anew. */
  end(note: string, again?: () => void): void {
    this.stop();
    this.isEnded = true;
    this.draw();
    this.dots.hidden = true;
    this.copy.hidden = !this.text;
    this.foot.replaceChildren();
    if (note) this.foot.append(note, " ");
    if (again) this.foot.append(make("button", { type: "button", class: "retry", click: again }, this.words.retry));
  }

  /** Draw the text, as Markdown if what draws it is there. */
  draw(): void {
    const { drawing } = this.formatting;
    if (!drawing) {
      drawPlain(this.body, this.text);
      return;
    }
    if (!this.view) {
      this.body.classList.remove("cmw-plain");
      this.view = new drawing.TextView(this.body, { kind: "widget", labels: this.words });
    }
    this.view.update(this.text, this.isEnded);
  }

  /** The answer goes off the page. */
  destroy(): void {
    this.stop();
    clearTimeout(this.copied);
    this.view?.destroy();
  }

  // The whole answer as its model has written it, without steps and notes.
  private async copyAll(): Promise<void> {
    if (!(await copyText(this.text))) return;
    this.copy.textContent = this.words.copied;
    clearTimeout(this.copied);
    this.copied = setTimeout(() => { this.copy.textContent = this.words.copy; }, COPIED_MS);
  }

  private stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}
