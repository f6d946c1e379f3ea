/** Asks the chat's server: by CORS and without cookies, as a visitor whom a signed token names. */
import type { Language } from "./words";

/** The server has refused a request; the message is for the visitor. */
export class RefusedError extends Error {
  constructor(readonly status: number, sentence: string) {
    super(sentence);
  }
}

/** No answer came, or its stream broke. */
export class LostError extends Error {}

/** A tool call of an answer. */
export interface ToolStep {
  readonly call: string | number;
  readonly name: string;
  readonly ok?: boolean;
  readonly seconds?: number;
  readonly link?: string;
  readonly answer?: "approved" | "denied" | "expired";
}

export interface Source {
  readonly url: string;
  readonly title: string;
}

/** What comes while an answer is written. */
export type TurnEvent =
  | ["started", { session_id: string }]
  | ["delta", { text: string }]
  | ["replaced", { response: string }]
  | ["sources", { sources: Source[] }]
  | ["tool" | "tool_done", ToolStep]
  | ["approval" | "approval_done", { call: string }]
  | ["done", { metadata: { status: string; notice?: string } }]
  | ["error", { detail: string }];

interface RequestOptions {
  readonly method?: string;
  readonly body?: object;
  readonly signal?: AbortSignal;
}

/** Where the server is, and for whom it is asked. */
export interface Address {
  readonly server: string;
  readonly agent: string;
  readonly frame: string; // what the chat's own page proves itself with
  readonly key: string; // of the site's storage
}

/** Keeps the visitor's token in the site's storage, or for as long as the page lasts. */
class TokenStore {
  private held: string | null = null;

  constructor(private readonly key: string) {}

  get(): string | null {
    try { return localStorage.getItem(this.key) ?? this.held; } catch { return this.held; }
  }

  set(token: string | null): void {
    this.held = token;
    try {
      if (token) localStorage.setItem(this.key, token);
      else localStorage.removeItem(this.key);
    } catch { /* it lasts as long as the page */ }
  }
}

export class Server {
  readonly token: TokenStore;
  session: string | null = null; // the conversation's id
  private visiting: Promise<void> | null = null;

  /** @param named Called with the agent's name. */
  constructor(
    private readonly address: Address,
    private readonly language: Language,
    private readonly named: (name: string) => void,
  ) {
    this.token = new TokenStore(address.key);
  }

  /** Become known to the server, or begin a new conversation there. */
  visit(more: object = {}): Promise<void> {
    return this.alone(async () => {
      const token = this.token.get();
      const response = await this.checked(await this.send("visit", { body: { ...(token && { token }), ...more } }));
      const found = (await response.json()) as { token: string; session_id: string; agent: { name: string } };
      this.token.set(found.token);
      this.session = found.session_id;
      this.named(found.agent.name);
    });
  }

  async known(): Promise<void> {
    if (this.session === null) await (this.visiting ??= this.visit().finally(() => { this.visiting = null; }));
  }

  /** Ask as the visitor. Raises RefusedError and LostError. */
  async call(path: string, options: RequestOptions = {}): Promise<Response> {
    await this.known();
    const response = await this.send(path, options);
    if (response.status !== 401) return this.checked(response);
    await this.visit(); // the token was too old, or its key is gone
    return this.checked(await this.send(path, options));
  }

  private async send(path: string, { method = "POST", body, signal }: RequestOptions): Promise<Response> {
    const { server, agent, frame } = this.address;
    const headers: Record<string, string> = { "accept-language": this.language.tag };
    const token = this.token.get();
    if (body) headers["content-type"] = "application/json";
    if (frame) headers["x-cmw-frame"] = frame;
    if (token && path !== "visit") headers["authorization"] = `Bearer ${token}`;
    try {
      return await fetch(`${server}embed/${encodeURIComponent(agent)}/${path}`, {
        method, headers, mode: "cors", credentials: "omit", cache: "no-store", redirect: "error",
        ...(signal && { signal }), ...(body && { body: JSON.stringify(body) }),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new LostError(this.language.words.lost);
    }
  }

  private async checked(response: Response): Promise<Response> {
    if (response.ok) return response;
    let sentence: string | undefined;
    try { sentence = ((await response.json()) as { detail?: string }).detail; } catch { /* a proxy's page */ }
    throw new RefusedError(response.status, sentence || this.language.words.failed);
  }

  // Two tabs that come at once become one visitor, except where the browser keeps nothing.
  private async alone(work: () => Promise<void>): Promise<void> {
    let isHeld = false;
    try {
      await navigator.locks.request(this.address.key, () => {
        isHeld = true;
        return work();
      });
    } catch (error) {
      if (isHeld) throw error;
      await work();
    }
  }
}

/** Yield the events of a streamed answer. */
export async function* eventsOf(response: Response): AsyncGenerator<TurnEvent> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const records = (rest + value).split("\n\n");
    rest = records.pop() ?? "";
    for (const record of records) {
      const found = /^event: (.*)\ndata: (.*)$/.exec(record);
      if (found) yield [found[1], JSON.parse(found[2] ?? "null")] as TurnEvent;
    }
  }
}
