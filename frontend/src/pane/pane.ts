/** The conversation on the page: a row for each message, drawn as its parts come. */
import { t } from "../language";
import type { Can, Deeds } from "./actions";
import { make } from "./dom";
import { Follow } from "./follow";
import type { Explanation } from "./rating";
import { Row } from "./row";
import { Signs } from "./signs";
import { Speech, languageOf } from "./speech";
import { grouped } from "./types";
import type { MessageParts, Part, Rating } from "./types";
import { Versions } from "./versions";

const AT_ONCE = 24; // rows that are drawn before the page is shown; those above follow
const SLICE_MS = 8; // of drawing, between two looks at what the user does

export class Pane {
  readonly rows = make("div", { class: "cmw-rows" });
  readonly scroller = make("div", { class: "cmw-scroll", role: "log", "aria-live": "off", "aria-label": t("Conversation"), tabindex: "0" });
  private readonly suggestions = make("div", { class: "cmw-suggestions", role: "group", "aria-label": t("Suggestions"), hidden: true });
  readonly follow: Follow;
  readonly signs = new Signs(this.rows);
  readonly versions = new Versions(() => this.offer());
  readonly speech = new Speech(() => this.offer());
  readonly element: HTMLElement;
  private readonly shown = new Map<string, Row>();
  private parts: readonly Part[] = [];
  private hasCome = false; // the conversation of the page
  private isPlanned = false;
  private isDrawingRest = false;
  private asked = "";
  private sentRow: Row | null = null; // a message of one's own that is on its way to the server
  private sentAfter = 0; // the seq of the last message before it

  constructor(private readonly deeds: Deeds) {
    const earlier = make("button", { type: "button", class: "cmw-show-earlier" }, t("Show earlier messages"));
    earlier.addEventListener("click", () => { this.follow.leave(); document.getElementById("cmw-earlier")?.click(); });
    this.scroller.append(earlier, this.rows, this.suggestions);
    this.follow = new Follow(this.scroller, this.rows);
    // What is still shown while the page goes elsewhere belongs to a conversation that it has left.
    this.rows.addEventListener("click", (event) => { if (this.scroller.ariaBusy === "true") event.stopPropagation(); }, true);
    this.element = make("div", { class: "cmw-pane" }, this.scroller, this.follow.button, this.signs.alert, this.signs.status);
  }

  /** The messages, oldest first; one by one in `rows`. */
  get messages(): MessageParts[] {
    return [...this.shown.values()].map(({ message }) => message);
  }

  /** Show these parts, soon. */
  show(parts: readonly Part[]): void {
    this.parts = parts;
    this.hasCome = true;
    if (this.isPlanned) return;
    this.isPlanned = true;
    const draw = () => { if (this.isPlanned) this.draw(); };
    if (document.hidden) setTimeout(draw);
    else requestAnimationFrame(draw);
  }

  /** Draw what was to be shown soon, and what the end of an answer changes. */
  draw(): void {
    this.isPlanned = false;
    if (!this.hasCome) return;
    const messages = grouped(this.parts);
    const isAbove = messages[0]?.key !== this.messages[0]?.key && this.shown.size > 0;
    const change = () => this.place(messages);
    if (isAbove) this.follow.holding(() => this.firstInView(), change);
    else change();
    const last = messages.at(-1);
    this.signs.came();
    this.follow.grew();
    this.ask(last);
  }

  /** Show a message that is on its way to the server, until the stored one comes; null takes it off. */
  sent(parts: readonly Part[] | null): void {
    this.sentRow?.destroy();
    this.sentRow = null;
    if (parts) {
      const message: MessageParts = { key: "sent", role: "user", seq: null, parts };
      this.sentAfter = Math.max(0, ...this.messages.map(({ seq }) => seq ?? 0));
      this.sentRow = new Row(message);
      this.sentRow.element.classList.add("cmw-sent");
      this.sentRow.draw(false);
      this.rows.append(this.sentRow.element);
      this.follow.toEnd();
    }
  }

  /** Show what may be written next, below the last answer; `take` is given what is pressed. */
  suggest(texts: readonly string[], take: (text: string) => void): void {
    const buttons = texts.map((text) => make("button", { type: "button", class: "cmw-example", dir: "auto", click: () => take(text) }, text));
    this.suggestions.replaceChildren(...buttons);
    this.suggestions.hidden = !texts.length;
    if (this.follow.isFollowing) this.follow.toEnd();
  }

  /** The row of a message, drawn; null where the page does not show it. */
  rowOf(seq: number): HTMLElement | null {
    if (this.isPlanned) this.draw();
    const row = [...this.shown.values()].find(({ message }) => message.seq === seq);
    if (row && !row.isDrawn) row.draw(false);
    return row?.element ?? null;
  }

  /** Read an answer aloud as it is shown, or stop. */
  speak({ key }: MessageParts): void {
    if (this.speech.isReading(key)) {
      this.speech.stop();
      return;
    }
    const shown = [...(this.shown.get(key)?.element.querySelectorAll<HTMLElement>(".cmw-answer") ?? [])];
    const text = shown.map(({ innerText }) => innerText).join("\n");
    const language = shown[0]?.closest<HTMLElement>("[lang]")?.lang || navigator.language;
    this.speech.read(key, text, languageOf(text, language));
  }

  editorOf(message: MessageParts, submit: (text: string) => string | null): void {
    this.shown.get(message.key)?.edit(submit);
  }

  /** What stands in open editors. */
  get edited(): string[] {
    return [...this.shown.values()].map((row) => row.edited).filter((text) => text.trim());
  }

  /** Close open editors; return what stood in them. */
  takeEdited(): string[] {
    const texts = this.edited;
    for (const row of this.shown.values()) row.closeEditor();
    return texts;
  }

  /** An answer has ended. */
  settle(): void {
    if (this.isPlanned) this.draw();
    this.sent(null);
    this.place(grouped(this.parts)); // what was live has ended
    for (const row of this.shown.values()) row.reopenEditor();
    this.signs.ended(this.messages.at(-1));
    this.offer();
  }

  /** Show a rating at once: the server's next value has it. */
  rate(seq: number | null, rating: Rating | null): void {
    this.parts = this.parts.map((part) =>
      (part.metadata?.seq === seq ? { ...part, metadata: { ...part.metadata, rating } } : part));
    this.place(grouped(this.parts));
  }

  /** Let the user say why they rate an answer so; without a rating there is nothing to say. */
  explain({ key }: MessageParts, rating: Rating | null, store: (explanation: Explanation) => Promise<void>): void {
    const row = this.shown.get(key);
    if (rating === null) row?.closeRating();
    else row?.explain(rating, store);
  }

  /** The page goes to another conversation. */
  leaving(): void {
    this.scroller.setAttribute("aria-busy", "true");
    this.speech.stop();
    this.sent(null);
    this.follow.toEnd();
    this.signs.forget();
  }

  /** The conversation that the page has gone to is there. */
  opened(): void {
    this.scroller.removeAttribute("aria-busy");
    void this.versions.load();
  }

  /** The question that an answer answers. */
  questionOf(answer: MessageParts): MessageParts | undefined {
    const messages = this.messages;
    const at = messages.findIndex(({ key }) => key === answer.key);
    return messages.slice(0, at).filter(({ role }) => role === "user").at(-1);
  }

  private place(messages: readonly MessageParts[]): void {
    if (messages.some(({ role, seq }) => role === "user" && (seq ?? Infinity) > this.sentAfter)) this.sent(null);
    const keys = new Set(messages.map(({ key }) => key));
    for (const [key, row] of this.shown) if (!keys.has(key)) this.remove(row);
    const before = new Map(this.shown);
    this.shown.clear();
    let previous: Element | null = null;
    messages.forEach((message, index) => {
      const row = before.get(message.key) ?? new Row(message);
      row.message = message;
      this.shown.set(message.key, row);
      const next: Element | null = previous ? previous.nextElementSibling : this.rows.firstElementChild;
      if (next !== row.element) this.rows.insertBefore(row.element, next);
      previous = row.element;
      const isLive = index === messages.length - 1 && message.role === "assistant" && window.cmw.running();
      if (row.isDrawn || index >= messages.length - AT_ONCE) this.drawRow(row, isLive);
    });
    this.drawRest();
  }

  private remove(row: Row): void {
    if (!row.wasSent) this.deeds.keep([row.edited]);
    const hadFocus = row.element.contains(document.activeElement);
    row.destroy();
    if (hadFocus) this.scroller.focus({ preventScroll: true }); // or nothing would have it
  }

  private drawRow(row: Row, isLive: boolean): void {
    row.draw(isLive);
    if (isLive) row.withdraw();
    else row.offer(this.can(row.message), this.deeds);
  }

  // The newest first: what is read is at the end.
  private drawRest(): void {
    if (this.isDrawingRest) return;
    this.isDrawingRest = true;
    const step = () => {
      const until = performance.now() + SLICE_MS;
      const waiting = [...this.shown.values()].filter(({ isDrawn }) => !isDrawn).reverse();
      for (const row of waiting) {
        if (performance.now() > until) { setTimeout(step); return; }
        this.drawRow(row, false);
      }
      this.isDrawingRest = false;
    };
    setTimeout(step);
  }

  private offer(): void {
    for (const row of this.shown.values()) {
      if (row.isDrawn && !row.element.classList.contains("cmw-live")) row.offer(this.can(row.message), this.deeds);
    }
  }

  private can(message: MessageParts): Can {
    const isTemporary = window.cmw.temporaryChat() !== null;
    const isUser = message.role === "user";
    const question = isUser ? message : this.questionOf(message);
    const last = isTemporary ? this.messages.filter(({ role }) => role === "user").at(-1) : question;
    const isChangeable = question !== undefined && question.seq !== null && question.key === last?.key;
    return {
      edit: isUser && isChangeable,
      retry: !isUser && isChangeable,
      rate: !isUser && !isTemporary && message.seq !== null,
      details: !isUser && !isTemporary && message.seq !== null,
      speak: this.speaks(message),
      versions: this.versions.ofMessage(message.seq),
    };
  }

  private speaks({ key, role, parts }: MessageParts): Can["speak"] {
    const hasText = role === "assistant" && parts.some(({ metadata }) => !metadata?.kind);
    if (!hasText || !this.speech.isOffered) return "no";
    return this.speech.isReading(key) ? "now" : "yes";
  }

  private firstInView(): Element | null {
    const { top } = this.scroller.getBoundingClientRect();
    return [...this.rows.children].find((row) => row.getBoundingClientRect().bottom > top) ?? null;
  }

  // Which calls wait for an approval, for the cards that ask for it.
  private ask(last: MessageParts | undefined): void {
    const waiting = (last?.parts ?? []).map(({ metadata }, index) => (metadata?.state === "approval" ? `${index} ${metadata.name}` : ""));
    const asked = waiting.filter(Boolean).join("\n");
    if (asked === this.asked) return;
    this.asked = asked;
    window.cmw.fire("asked", asked);
  }
}
