/** Calls that wait for the visitor's approval: shown above the box, and never in the conversation,
 * where a model could draw one like it. */
import { make } from "../pane/dom";
import type { Panel } from "./panel";
import type { Server } from "./server";
import type { Words } from "./words";

const TRIES = 4;
const WAIT_MS = 400; // until the server is asked once more for a call that it has announced

interface PendingCall {
  readonly call: string;
  readonly name: string;
  readonly account: string | null;
  readonly arguments: string;
}

/** The text of an agent's question; undefined where the call is none. */
function questionIn({ name, arguments: written }: PendingCall): string | undefined {
  if (name !== "question") return undefined;
  const { question, answer } = JSON.parse(written) as Record<string, unknown>;
  return typeof question === "string" && typeof answer === "string" ? question : undefined;
}

export class Approvals {
  constructor(
    private readonly server: Server,
    private readonly panel: Panel,
    private readonly words: Words,
    private readonly report: (error: unknown) => void,
  ) {}

  /** Show a call that waits, with its exact arguments as the server wrote them. */
  ask(id: string, tries = TRIES): void {
    this.find(id, tries).catch(this.report);
  }

  /** A call waits no more. */
  settled(id: string): void {
    this.cards().find(({ dataset }) => dataset["call"] === id)?.remove();
  }

  private cards(): HTMLElement[] {
    return [...this.panel.approvals.children] as HTMLElement[];
  }

  private async find(id: string, tries: number): Promise<void> {
    const response = await this.server.call("messages", { method: "GET" });
    const { waiting } = (await response.json()) as { waiting: PendingCall[] };
    const pending = waiting.find(({ call }) => call === id);
    if (pending) this.show(pending);
    else if (tries) setTimeout(() => this.ask(id, tries - 1), WAIT_MS);
  }

  private show(pending: PendingCall): void {
    const { call, name, account, arguments: written } = pending;
    if (this.cards().some(({ dataset }) => dataset["call"] === call)) return;
    const question = questionIn(pending);
    if (question !== undefined) return this.showQuestion(call, question);
    const { approve, deny, wants } = this.words;
    const card = make("div", { class: "ask", role: "group", "aria-label": `${name} ${wants}`, "data-call": call },
      make("p", {}, make("strong", {}, name), ` ${wants}`),
      ...(account ? [make("p", { dir: "auto" }, account)] : []),
      make("pre", { tabindex: "0" }, written),
      make("button", { type: "button", class: "yes", click: () => void this.decide(card, call, "approved") }, approve),
      make("button", { type: "button", class: "no", click: () => void this.decide(card, call, "denied") }, deny));
    this.panel.approvals.append(card);
  }

  /** Show a question of the agent's, which the visitor answers with a text. */
  private showQuestion(call: string, question: string): void {
    const { asks, answer, skip } = this.words;
    const field = make("input", { "aria-label": question, maxlength: "4000" }) as HTMLInputElement;
    const send = (): void => void this.decide(card, call, "approved", { question, answer: field.value });
    const card = make("form", { class: "ask", "aria-label": asks, "data-call": call,
                                submit: (event: Event) => { event.preventDefault(); send(); } },
      make("p", { dir: "auto" }, make("strong", {}, asks), ` ${question}`),
      field,
      make("button", { type: "submit", class: "yes" }, answer),
      make("button", { type: "button", class: "no", click: () => void this.decide(card, call, "denied") }, skip));
    this.panel.approvals.append(card);
  }

  private async decide(
    card: HTMLElement, call: string, answer: "approved" | "denied", given?: Record<string, string>,
  ): Promise<void> {
    for (const button of card.querySelectorAll("button")) button.disabled = true;
    try {
      await this.server.call("approvals", { body: { call, answer, ...(given && { arguments: given }) } });
    } catch (error) {
      this.report(error);
    }
    card.remove();
    this.panel.box.focus();
  }
}
