/** How a message's text is drawn. */
export interface TextOptions {
  kind: "answer" | "thoughts" | "share";
  fileUrl?(href: string): string | null;
}

/** Draws Markdown that may still be growing. */
export class TextView {
  constructor(
    private readonly host: HTMLElement,
    readonly options: TextOptions,
  ) {}

  update(markdown: string, _isEnded: boolean): void {
    this.host.textContent = markdown;
  }

  destroy(): void {
    this.host.replaceChildren();
  }
}

/** Draw a text exactly as it was typed. */
export function drawPlain(host: HTMLElement, text: string): void {
  host.textContent = text;
}
