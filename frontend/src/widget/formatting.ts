/** Loads what draws answers as Markdown, once the chat is opened: until it is there they stand as written. */
import type { TextView } from "../text/view";

interface Drawing {
  TextView: typeof TextView;
  styleSheet(): CSSStyleSheet;
}

declare const TEXT_VERSION: string;

const TRIES = 3;

export class Formatting {
  drawing: Drawing | null = null;
  private loading: Promise<void> | null = null;
  private failures = 0;

  /**
   * @param server Address of the chat's server.
   * @param loaded Called once, when the drawing is there.
   */
  constructor(private readonly server: string, private readonly loaded: (drawing: Drawing) => void) {}

  /** Begin to load it, unless it is there, on its way or has failed too often. */
  begin(): void {
    if (this.drawing === null && this.failures < TRIES) this.loading ??= this.load();
  }

  private async load(): Promise<void> {
    try {
      // A failed import is remembered under its address: the next try has another one.
      const again = this.failures ? `&again=${this.failures}` : "";
      this.drawing = (await import(`${this.server}built/text.js?v=${TEXT_VERSION}${again}`)) as Drawing;
      this.loaded(this.drawing);
    } catch {
      this.failures += 1;
    } finally {
      this.loading = null;
    }
  }
}
