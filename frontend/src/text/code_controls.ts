/** Answers the buttons of drawn code: copy, wrap. */
import { copyText } from "./clipboard";
import { writtenText } from "./controls";
import type { TextLabels } from "./options";

const SHOWN_MS = 2_000;

/** Listens for a text's buttons at its host: drawn pieces need no listeners of their own. */
export class CodeControls {
  private readonly timers = new Map<Element, number>();
  private readonly onClick = (event: Event): void => this.click(event);

  constructor(
    private readonly host: HTMLElement,
    private readonly labels: TextLabels,
  ) {
    host.addEventListener("click", this.onClick);
  }

  destroy(): void {
    this.host.removeEventListener("click", this.onClick);
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
  }

  private click(event: Event): void {
    const pressed = event.target instanceof Element ? event.target.closest("button") : null;
    const box = pressed?.closest<HTMLElement>(".cmw-code-box");
    if (pressed == null || box == null) return;
    if (pressed.classList.contains("cmw-code-copy")) void this.copyCode(pressed, box);
    else if (pressed.classList.contains("cmw-code-wrap")) {
      const isWrapped = box.dataset["wrapped"] === undefined;
      pressed.setAttribute("aria-pressed", String(isWrapped));
      if (isWrapped) box.dataset["wrapped"] = "";
      else delete box.dataset["wrapped"];
    }
  }

  private async copyCode(pressed: HTMLElement, box: HTMLElement): Promise<void> {
    const code = box.querySelector("code");
    if (code === null || !(await copyText(writtenText(code).replace(/\n$/, "")))) return;
    pressed.textContent = this.labels.copied;
    clearTimeout(this.timers.get(pressed));
    const restore = (): void => {
      this.timers.delete(pressed);
      pressed.textContent = this.labels.copy;
    };
    this.timers.set(pressed, window.setTimeout(restore, SHOWN_MS));
  }
}
