/** Why an answer is rated as it is: a form below it, which nobody needs to fill in. */
import { t } from "../language";
import { make } from "./dom";
import type { Rating } from "./types";

const MAX_CHARS = 2_000; // of a comment; see `memory/records.py`

/** What a user says of their rating. */
export interface Explanation {
  readonly reason: string | null;
  readonly comment: string | null;
}

const reasons = (): Record<string, string> => ({
  not_right: t("Not right"),
  not_complete: t("Not complete"),
  did_not_follow: t("Did not do what I asked for"),
  unsafe: t("Unsafe or offensive"),
  other: t("Something else"),
});

/** What users read for the name of a reason. */
export function reasonText(name: string): string {
  return reasons()[name] ?? name;
}

export class RatingForm {
  readonly element: HTMLFormElement;
  private readonly comment = make("textarea", { class: "cmw-edit", rows: "2", maxlength: String(MAX_CHARS), dir: "auto" });
  private readonly line = make("p", { class: "cmw-edit-error", role: "alert", hidden: true });
  private isSent = false; // a button that is disabled meanwhile would lose the focus

  /**
   * @param rating What the answer was rated as; reasons are those of a dislike.
   * @param store Stores what was said, or throws an error with a sentence.
   * @param close Takes the form away.
   */
  constructor(rating: Rating, private readonly store: (explanation: Explanation) => Promise<void>, private readonly close: () => void) {
    const send = make("button", { type: "submit", class: "cmw-approve" }, t("Send"));
    const end = make("div", { class: "cmw-editor-end" }, send, make("button", { type: "button", click: () => this.close() }, t("Close")));
    const label = make("label", {}, make("span", {}, t("Comment")), this.comment);
    const chosen = rating === "dislike" ? [this.choices()] : [];
    this.element = make("form", { class: "cmw-rating", "aria-label": t("Why you rate this answer so"), submit: (event) => { event.preventDefault(); void this.submit(); } },
      make("p", {}, t("If you like, say why.")), ...chosen, label, this.line, end);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      event.stopPropagation();
      this.close();
    });
  }

  private choices(): HTMLElement {
    const each = Object.entries(reasons()).map(([value, text]) => make("label", {}, make("input", { type: "radio", name: "reason", value }), text));
    return make("fieldset", {}, make("legend", {}, t("What was wrong?")), ...each);
  }

  private async submit(): Promise<void> {
    const reason = this.element.querySelector<HTMLInputElement>("input:checked")?.value ?? null;
    const comment = this.comment.value.trim() || null;
    if (!reason && !comment) {
      this.close();
      return;
    }
    if (this.isSent) return;
    this.isSent = true;
    this.line.hidden = true;
    try {
      await this.store({ reason, comment });
      this.close();
    } catch (error) {
      this.line.textContent = (error as Error).message;
      this.line.hidden = false;
      this.isSent = false;
    }
  }
}
