/** Where the conversation is scrolled to: at its end while the reader is there, else where it stands. */
import { t } from "../language";
import { make } from "./dom";

const NEAR = 8; // pixels from the end that count as the end
const HELD_MS = 500; // for so long what came in above may still change its height

export class Follow {
  readonly button: HTMLButtonElement;
  private following = true;
  private held: { element: Element; top: number } | null = null;
  private timer = 0;
  private top = 0;
  private furthest = 0; // the largest scroll position when it was looked at last

  constructor(
    private readonly scroller: HTMLElement,
    content: HTMLElement,
  ) {
    const press = () => { this.toEnd(); this.scroller.focus({ preventScroll: true }); };
    this.button = make("button", { type: "button", class: "cmw-new-text", hidden: true, click: press }, t("↓ New text"));
    scroller.addEventListener("scroll", () => this.look(), { passive: true });
    scroller.addEventListener("wheel", ({ deltaY }) => { if (deltaY < 0) this.leave(); }, { passive: true });
    for (const event of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      scroller.addEventListener(event, () => { if (this.held) this.release(); }, { passive: true });
    }
    const sizes = new ResizeObserver(() => this.keep());
    sizes.observe(content);
    sizes.observe(scroller);
    this.set(true);
  }

  get isFollowing(): boolean {
    return this.following;
  }

  /** Show the end, and follow it from now on. */
  toEnd(): void {
    this.set(true);
    this.keep();
  }

  /** The reader wants to stay where they are. */
  leave(): void {
    if (this.end() > 0) this.set(false);
  }

  /** Text was added at the end. */
  grew(): void {
    if (!this.following) this.button.hidden = false;
  }

  /** Change what is above the place that is read, which stays where it is until that has its height. */
  holding(place: () => Element | null, change: () => void): void {
    const element = this.following ? null : place();
    if (element) {
      this.held = { element, top: element.getBoundingClientRect().top };
      this.scroller.style.overflowAnchor = "none"; // or the browser would move it as well
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.release(), HELD_MS);
    }
    change();
    this.keep();
  }

  private release(): void {
    this.held = null;
    this.set(this.following);
  }

  private end(): number {
    return this.scroller.scrollHeight - this.scroller.clientHeight;
  }

  private remember(): void {
    this.top = this.scroller.scrollTop;
    this.furthest = this.end();
  }

  private look(): void {
    const end = this.end();
    const { scrollTop } = this.scroller;
    const isShorter = end < this.furthest - 1; // then the browser has moved it, not the reader
    if (scrollTop < this.top - 1 && !isShorter) this.set(false);
    else if (end - scrollTop <= NEAR) this.set(true);
    this.remember();
  }

  private keep(): void {
    if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
    else if (this.held?.element.isConnected) {
      this.scroller.scrollTop += this.held.element.getBoundingClientRect().top - this.held.top;
    }
    this.remember();
  }

  private set(following: boolean): void {
    this.following = following;
    if (following) this.button.hidden = true;
    this.scroller.style.overflowAnchor = following ? "none" : "auto";
  }
}
