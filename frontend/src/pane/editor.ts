/** The editor of a message of one's own, in the place of its text. */
import { t } from "../language";
import { make } from "./dom";

export class Editor {
  readonly element: HTMLElement;
  private readonly input = make("textarea", { class: "cmw-edit", "aria-label": t("Edit message"), dir: "auto", rows: "1" });
  private readonly line = make("p", { class: "cmw-edit-error", role: "alert", hidden: true });
  private readonly buttons: HTMLButtonElement[];
  private isSent = false;

  /**
   * @param text The message as it is.
   * @param submit Sends the edited text; returns a sentence where that cannot be done now.
   * @param close Takes the editor away.
   */
  constructor(text: string, private readonly submit: (text: string) => string | null, private readonly close: () => void) {
    this.input.defaultValue = text;
    this.buttons = [
      make("button", { type: "button", class: "cmw-approve", click: () => this.send() }, t("Submit")),
      make("button", { type: "button", click: () => this.close() }, t("Cancel")),
    ];
    this.element = make("div", { class: "cmw-editor" }, this.input, this.line, make("div", { class: "cmw-editor-end" }, ...this.buttons));
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.input.addEventListener("input", () => { this.line.hidden = true; });
  }

  get wasSent(): boolean {
    return this.isSent;
  }

  /** What was written and is not sent; empty while nothing was changed. */
  get text(): string {
    return this.input.value === this.input.defaultValue ? "" : this.input.value;
  }

  focus(): void {
    this.input.focus();
    this.input.setSelectionRange(this.input.value.length, this.input.value.length);
  }

  /** What was sent has come to nothing: the text can be sent again. */
  reopen(): void {
    if (!this.isSent) return;
    this.lock(false);
    this.focus();
  }

  private pressed(event: KeyboardEvent): void {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && !event.shiftKey && event.target === this.input) this.send();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private send(): void {
    if (this.isSent) return;
    const refusal = this.input.value.trim() ? this.submit(this.input.value) : t("The message is empty. Write something, or cancel.");
    this.line.textContent = refusal;
    this.line.hidden = !refusal;
    if (!refusal) this.lock(true);
  }

  private lock(isSent: boolean): void {
    this.isSent = isSent;
    this.input.readOnly = isSent;
    for (const button of this.buttons) button.disabled = isSent;
  }
}
