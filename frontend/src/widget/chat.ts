/** The visitor's conversation: what was said before, and one answer at a time. */
import { make } from "../pane/dom";
import { Answer } from "./answer";
import { Approvals } from "./approvals";
import { Formatting } from "./formatting";
import { Panel } from "./panel";
import { eventsOf, LostError, RefusedError, Server } from "./server";
import type { Address, Source, ToolStep, TurnEvent } from "./server";
import type { Language } from "./words";

const TRIES = 4;
const FIRST_PAUSE_MS = 350; // doubled with each try

interface StoredMessage {
  readonly role: "user" | "assistant";
  readonly content: string;
  readonly status: "complete" | "interrupted" | "failed";
  readonly tools: readonly Omit<ToolStep, "call">[];
  readonly sources: readonly Source[];
  readonly notice: string | null;
}

function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((part) => part.toString(16).padStart(2, "0")).join("");
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); failed(signal.reason as Error); });
  });
}

export class Chat {
  readonly panel: Panel;
  readonly server: Server;
  readonly formatting: Formatting;
  private readonly approvals: Approvals;
  private running: AbortController | null = null; // ends the answer that is being written
  private loaded: Promise<void> | null = null;

  constructor(private readonly address: Address, private readonly language: Language, private readonly isPage: boolean, title: string) {
    const { words } = language;
    this.panel = new Panel(words, {
      submit: () => void this.submit(),
      stop: () => this.running?.abort(),
      begin: () => void this.begin().catch(this.report),
      toggle: () => (this.panel.element.hidden ? this.open() : this.close()),
      close: () => this.close(),
    }, isPage, title);
    this.server = new Server(address, language, (name) => this.panel.named(name));
    this.formatting = new Formatting(address.server, ({ styleSheet }) => {
      (this.panel.root.getRootNode() as ShadowRoot).adoptedStyleSheets.push(styleSheet());
      this.panel.redraw();
    });
    this.approvals = new Approvals(this.server, this.panel, words, this.report);
    this.panel.clear();
  }

  open(): void {
    this.formatting.begin();
    this.panel.show(true);
    void this.fill();
  }

  close(): void {
    if (!this.isPage) this.panel.show(false);
  }

  /** End the conversation, and return the id of the next. */
  async begin(): Promise<string | null> {
    await this.halt();
    await this.server.visit({ new: true });
    this.panel.clear();
    this.panel.say(this.language.words.begun);
    if (!this.panel.element.hidden) this.panel.box.focus();
    return this.server.session;
  }

  /** Delete everything of this visitor for good; the next message comes from a new one. */
  async forget(): Promise<void> {
    await this.halt();
    if (this.server.token.get()) await this.server.call("messages", { method: "DELETE" });
    this.server.token.set(null);
    this.server.session = null;
    this.panel.clear();
  }

  private readonly report = (error: unknown): void => {
    this.panel.say((error instanceof Error && error.message) || this.language.words.failed);
  };

  private busy(control: AbortController | null): void {
    this.running = control;
    this.panel.busy(control !== null);
  }

  private async halt(): Promise<void> {
    this.running?.abort();
    this.busy(null);
    await this.loaded;
    this.running?.abort();
    this.running = null;
  }

  private async submit(): Promise<void> {
    const { box } = this.panel;
    const text = box.value;
    if (!text.trim() || this.running) return;
    box.value = "";
    this.panel.grow();
    const control = new AbortController();
    this.busy(control);
    await this.fill(); // what was said before stands above
    if (this.running === control) this.running = null;
    if (this.running || control.signal.aborted) { // an older answer goes on, or it was stopped
      this.panel.busy(Boolean(this.running));
      box.value = text;
      return;
    }
    this.panel.withdrawRetries();
    this.panel.question(text);
    void this.ask({ message: text, key: randomKey() }, this.newAnswer());
  }

  private newAnswer(): Answer {
    const answer = new Answer(this.language.words, this.formatting);
    this.panel.answer(answer);
    return answer;
  }

  /* -- one answer, from the request to its end -- */

  private async ask(body: object, answer: Answer): Promise<void> {
    const { words } = this.language;
    const control = new AbortController();
    this.busy(control);
    this.panel.say("");
    this.formatting.begin();
    try {
      await this.insist(body, answer, control.signal);
    } catch (error) {
      if (control.signal.aborted) answer.end(words.stopped);
      else if ("follow" in body && error instanceof RefusedError && error.status === 404) {
        answer.end(words.cut, () => this.refill()); // another tab follows it
      } else answer.end((error instanceof Error && error.message) || words.failed, () => this.retry(body, answer));
    } finally {
      if (this.running === control) {
        this.busy(null);
        this.panel.approvals.replaceChildren();
      }
    }
  }

  // The same key each time: what the server has had once it answers once.
  private async insist(body: object, answer: Answer, signal: AbortSignal): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.attempt(answer.waits ? { follow: true } : body, answer, signal);
        return;
      } catch (error) {
        const isLost = error instanceof LostError;
        const isPassing = isLost || (error instanceof RefusedError && error.status === 409);
        if (signal.aborted || !isPassing || tries > TRIES) throw error;
        if (isLost) this.panel.say(this.language.words.again);
        await pause(FIRST_PAUSE_MS * 2 ** tries, signal);
      }
    }
  }

  private async attempt(body: object, answer: Answer, signal: AbortSignal): Promise<void> {
    const response = await this.server.call("message", { body, signal });
    this.panel.say("");
    if (response.headers.get("content-type")?.startsWith("application/json")) {
      const { left, session_id } = (await response.json()) as { left: string; session_id: string };
      this.server.session = session_id;
      this.panel.clear(left);
      return;
    }
    try {
      for await (const event of eventsOf(response)) if (this.show(event, answer)) return;
    } catch (error) {
      if (signal.aborted || error instanceof RefusedError) throw error;
    }
    throw new LostError(this.language.words.lost);
  }

  // Returns whether the answer has ended.
  private show([name, data]: TurnEvent, answer: Answer): boolean {
    this.panel.follow.grew();
    switch (name) {
      case "started":
        this.server.session = data.session_id;
        answer.begin();
        return false;
      case "delta": answer.add(data.text); return false;
      case "replaced": answer.replace(data.response); return false;
      case "sources": answer.cite(data.sources); return false;
      case "tool":
      case "tool_done": answer.step(data); return false;
      case "approval":
        answer.waits = true;
        this.approvals.ask(data.call);
        return false;
      case "approval_done":
        answer.waits = false;
        this.approvals.settled(data.call);
        return false;
      default: return this.ended([name, data] as TurnEvent, answer);
    }
  }

  private ended([name, data]: TurnEvent, answer: Answer): boolean {
    const { words } = this.language;
    const again = () => this.retry({ again: true, key: randomKey() }, answer);
    if (name === "error") answer.end(data.detail || words.failed, again);
    else if (name !== "done") return false;
    else if (data.metadata.status === "complete") answer.end(data.metadata.notice ?? "");
    else answer.end(data.metadata.notice || words.cut, again);
    return true;
  }

  private retry(body: object, answer: Answer): void {
    if (this.running) return;
    answer.wait();
    void this.ask(body, answer);
  }

  /* -- what was said before -- */

  private fill(): Promise<void> {
    return this.loaded ??= this.load().catch((error: unknown) => {
      const { words } = this.language;
      const { server, agent } = this.address;
      this.loaded = null;
      this.panel.clear("");
      this.panel.add(make("p", { class: "foot" }, `${error instanceof Error ? error.message : words.failed} `,
        make("button", { type: "button", class: "retry", click: () => this.refill() }, words.retry)));
      if (error instanceof LostError) {
        console.warn(`CMW Agent: no answer from ${server}; is ${location.origin} an origin of its agent "${agent}"?`);
      }
    });
  }

  private refill(): void {
    this.loaded = null;
    void this.fill();
  }

  private async load(): Promise<void> {
    const response = await this.server.call("messages", { method: "GET" });
    const found = (await response.json()) as { session_id: string; messages: StoredMessage[]; waiting: object[] };
    this.server.session = found.session_id;
    this.panel.clear();
    let last: Answer | null = null;
    for (const message of found.messages) {
      last?.end(last.note);
      last = message.role === "user" ? null : this.restored(message);
      if (message.role === "user") this.panel.question(message.content);
    }
    if (found.waiting.length) void this.ask({ follow: true }, last ?? this.newAnswer());
    else if (last) {
      const { isWhole, note } = last;
      const answer = last;
      last.end(note, isWhole ? undefined : () => this.retry({ again: true, key: randomKey() }, answer));
    }
    this.panel.follow.toEnd();
  }

  private restored({ content, status, tools, sources, notice }: StoredMessage): Answer {
    const { words } = this.language;
    const answer = this.newAnswer();
    answer.add(content);
    tools.forEach((tool, number) => answer.step({ ...tool, call: number }));
    answer.cite(sources);
    answer.isWhole = status === "complete";
    const own = status === "failed" ? words.none : words.cut;
    answer.note = notice || (answer.isWhole ? "" : own);
    return answer;
  }
}
