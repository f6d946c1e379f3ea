/** One message on the page: its parts, and the buttons below them. */
import { actionsOf } from "./actions";
import type { Can, Deeds } from "./actions";
import { make } from "./dom";
import { Editor } from "./editor";
import { kindOf, viewOf } from "./parts";
import type { PartView } from "./parts";
import { textOf } from "./types";
import type { MessageParts, Part } from "./types";

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
  private offered = ""; // what the buttons were made for
  private offeredFor: readonly Part[] = [];
  isDrawn = false;

  constructor(message: MessageParts) {
    this.message = message;
    const name = message.role === "user" ? "Your message" : "Answer";
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
    if (hadFocus) this.actions.querySelector<HTMLElement>(`[aria-label="${CSS.escape(hadFocus)}"]`)?.focus();
  }

  /** An answer that is being written has no buttons. */
  withdraw(): void {
    this.offered = "";
    this.actions.replaceChildren();
  }

  /** Let the user edit the message; `submit` sends the text, or returns why it cannot now. */
  edit(submit: (text: string) => string | null): void {
    this.closeEditor();
    const text = textOf(this.message.parts.at(-1) as Part);
    this.editor = new Editor(text, submit, () => {
      this.closeEditor();
      this.actions.querySelector<HTMLElement>("[aria-label=Edit]")?.focus();
    });
    this.element.classList.add("cmw-editing");
    this.body.after(this.editor.element);
    this.editor.focus();
  }

  /** What stands in an open editor; empty without one. */
  get edited(): string {
    return this.editor?.text ?? "";
  }

  reopenEditor(): void {
    this.editor?.reopen();
  }

  private closeEditor(): void {
    this.editor?.element.remove();
    this.editor = null;
    this.element.classList.remove("cmw-editing");
  }

  destroy(): void {
    for (const drawn of this.drawn) drawn.view.destroy();
    this.element.remove();
  }
}
