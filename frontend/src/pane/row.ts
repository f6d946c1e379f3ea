/** One message on the page: its parts, and the buttons below them. */
import { t } from "../language";
import { actionsOf, copied } from "./actions";
import type { Can, Deeds } from "./actions";
import { make } from "./dom";
import { Editor } from "./editor";
import { kindOf, viewOf } from "./parts";
import type { PartView } from "./parts";
import { RatingForm } from "./rating";
import type { Explanation } from "./rating";
import { textOf } from "./types";
import type { MessageParts, Part, Rating } from "./types";

interface Drawn {
  readonly kind: string;
  readonly view: PartView;
  part: Part | null;
  isEnded: boolean;
}

export class Row {
  readonly element: HTMLElement;
  message: MessageParts;
  private readonly body = make("div", { class: "cmw-row-body" });
  private readonly actions = make("div", { class: "cmw-actions" });
  private drawn: Drawn[] = [];
  private editor: Editor | null = null;
  private ratingForm: RatingForm | null = null;
  private offered = ""; // what the buttons were made for
  private offeredFor: readonly Part[] = [];
  isDrawn = false;

  constructor(message: MessageParts) {
    this.message = message;
    const name = message.role === "user" ? t("Your message") : t("Answer");
    this.element = make("article", { class: `cmw-row ${message.role}`, "aria-label": name }, this.body, this.actions);
  }

  /** Draw what has changed of the message. */
  draw(isLive: boolean): void {
    this.isDrawn = true;
    const { parts } = this.message;
    while (this.drawn.length > parts.length) this.remove(this.drawn.pop());
    parts.forEach((part, index) => this.drawPart(part, index, !isLive));
    this.element.classList.toggle("cmw-live", isLive);
  }

  private drawPart(part: Part, index: number, isEnded: boolean): void {
    let drawn = this.drawn[index];
    const kind = kindOf(part);
    if (drawn && drawn.kind !== kind) {
      this.remove(drawn);
      drawn = undefined;
    }
    if (!drawn) {
      drawn = { kind, view: viewOf(part), part: null, isEnded };
      this.drawn[index] = drawn;
      this.body.insertBefore(drawn.view.element, this.drawn[index + 1]?.view.element ?? null);
    }
    if (drawn.part === part && drawn.isEnded === isEnded) return;
    if (this.editor?.wasSent && drawn.part && textOf(drawn.part) !== textOf(part)) this.closeEditor();
    drawn.part = part;
    drawn.isEnded = isEnded;
    drawn.view.update(part, isEnded);
  }

  private remove(drawn: Drawn | undefined): void {
    drawn?.view.destroy();
    drawn?.view.element.remove();
  }

  /** Show the buttons for what can be done now. */
  offer(can: Can, deeds: Deeds): void {
    const offered = JSON.stringify(can);
    const { parts } = this.message;
    const isSame = parts.length === this.offeredFor.length && parts.every((part, index) => part === this.offeredFor[index]);
    if (isSame && offered === this.offered) return;
    this.offered = offered;
    this.offeredFor = parts;
    const hadFocus = this.actions.contains(document.activeElement) ? document.activeElement?.getAttribute("aria-label") : null;
    this.actions.replaceChildren(...actionsOf(this.message, can, deeds));
    if (hadFocus) this.refocus(hadFocus);
  }

  // The button of this name; where there is none, or it cannot be pressed any more, the last that can.
  private refocus(name: string): void {
    const buttons = [...this.actions.querySelectorAll<HTMLButtonElement>("button:not(:disabled)")];
    const same = buttons.find((button) => button.getAttribute("aria-label") === name);
    (same ?? buttons.at(-1) ?? this.element.closest<HTMLElement>(".cmw-scroll"))?.focus({ preventScroll: true });
  }

  /** An answer that is being written has no buttons. */
  withdraw(): void {
    this.offered = "";
    if (this.actions.contains(document.activeElement)) this.element.closest<HTMLElement>(".cmw-scroll")?.focus({ preventScroll: true });
    this.actions.replaceChildren();
  }

  /** Let the user edit the message; `submit` sends the text, or returns why it cannot now. */
  edit(submit: (text: string) => string | null): void {
    this.closeEditor();
    const text = copied(this.message);
    this.editor = new Editor(text, submit, () => {
      this.closeEditor();
      const name = CSS.escape(t("Edit"));
      this.actions.querySelector<HTMLElement>(`[aria-label="${name}"]`)?.focus();
    });
    this.element.classList.add("cmw-editing");
    this.body.after(this.editor.element);
    this.editor.focus();
  }

  /** What stands in an open editor; empty without one. */
  get edited(): string {
    return this.editor?.text ?? "";
  }

  get wasSent(): boolean {
    return this.editor?.wasSent ?? false;
  }

  reopenEditor(): void {
    this.editor?.reopen();
  }

  closeEditor(): void {
    this.editor?.element.remove();
    this.editor = null;
    this.element.classList.remove("cmw-editing");
  }

  /** Let the user say why they rate the answer so, in a form below it; `store` stores that. */
  explain(rating: Rating, store: (explanation: Explanation) => Promise<void>): void {
    this.closeRating();
    this.ratingForm = new RatingForm(rating, store, () => {
      const hadFocus = this.ratingForm?.element.contains(document.activeElement);
      this.closeRating();
      if (hadFocus) this.refocus(rating === "like" ? t("Like") : t("Dislike"));
    });
    this.actions.after(this.ratingForm.element);
    this.ratingForm.element.scrollIntoView({ block: "nearest" });
  }

  closeRating(): void {
    this.ratingForm?.element.remove();
    this.ratingForm = null;
  }

  destroy(): void {
    for (const drawn of this.drawn) drawn.view.destroy();
    this.element.remove();
  }
}
