/** What the page says of an answer that is being written: for the ear, and of long silences. */
import { numeral, t } from "../language";
import { make } from "./dom";
import type { MessageParts } from "./types";

const SILENT_MS = 10_000; // of silence, before the page says that it waits

function duration(since: number): string {
  const seconds = Math.floor((performance.now() - since) / 1_000);
  return seconds < 60 ? t("{seconds} s", { seconds })
    : t("{minutes} min {seconds} s", { minutes: numeral(Math.floor(seconds / 60)), seconds: seconds % 60 });
}

export class Signs {
  readonly status = make("div", { class: "sr-only", role: "status" });
  readonly alert = make("p", { class: "cmw-pane-alert", role: "alert", hidden: true });
  readonly silence = make("div", { class: "cmw-silence", role: "timer", hidden: true });
  private changed = performance.now();
  private thinks: number | null = null;
  private isAnswering = false;
  private hasCome = false; // something of the answer

  constructor(private readonly content: HTMLElement) {
    setInterval(() => this.count(), 1_000);
  }

  say(text: string): void {
    this.status.textContent = text;
  }

  /** Show why something was not done; an empty text takes that away. */
  fail(text: string): void {
    this.alert.textContent = text;
    this.alert.hidden = !text;
  }

  /** Something of the conversation has changed. */
  came(): void {
    this.changed = performance.now();
    this.hasCome = true;
  }

  /** An answer begins. */
  begun(): void {
    this.changed = performance.now();
    this.hasCome = false;
    this.fail("");
    if (this.isAnswering) return;
    this.isAnswering = true;
    this.say(t("Answering…"));
  }

  /** The answer has ended. */
  ended(last: MessageParts | undefined): void {
    if (!this.isAnswering) return;
    this.isAnswering = false;
    if (last?.role !== "assistant" || !this.hasCome) {
      this.say(""); // a command was carried out, or nothing
      return;
    }
    const outcome = last.parts.at(-1)?.metadata?.outcome;
    if (outcome === "failed") this.say(t("No answer came."));
    else this.say(outcome === "interrupted" ? t("The answer was stopped.") : t("The answer is ready."));
  }

  /** The page has gone to another conversation, whose answer nobody was told of. */
  forget(): void {
    this.isAnswering = false;
    this.fail("");
    this.say("");
  }

  private count(): void {
    const running = [...this.content.querySelectorAll<HTMLElement>(".cmw-live .cmw-step[data-state=running]")];
    const thinking = running.filter((step) => step.dataset["kind"] === "thoughts").at(-1);
    this.thinks = thinking ? this.thinks ?? performance.now() : null;
    const seconds = thinking?.querySelector(".cmw-seconds");
    if (seconds && this.thinks !== null) seconds.textContent = duration(this.thinks);
    const isBusy = running.length > 0 || document.querySelector("#cmw-approvals:not([hidden])") !== null;
    const isSilent = !isBusy && window.cmw.running() && performance.now() - this.changed >= SILENT_MS;
    this.silence.hidden = !isSilent;
    if (isSilent) this.silence.textContent = t("Waiting for the model… {duration}", { duration: duration(this.changed) });
  }
}
