/** What the server sends for each part of a message; see `cmw_agent/web/page/drawn_message.py`. */
export interface Metadata {
  readonly kind?: "waiting" | "thoughts" | "tool" | "connect" | "switch" | "sources" | "files" | "note";
  readonly seq?: number;
  readonly rating?: Rating | null;
  readonly title?: string;
  readonly state?: "running" | "approval" | "done" | "failed";
  readonly name?: string;
  readonly duration?: number;
  readonly progress?: string; // of a tool that runs
  readonly link?: string;
  readonly sentence?: string;
  readonly outcome?: "complete" | "interrupted" | "failed";
  readonly error?: string | null;
  readonly sources?: readonly { title: string; url: string | null }[];
  readonly files?: readonly AttachedFile[];
}

export type Rating = "like" | "dislike";

export interface AttachedFile {
  readonly id: string;
  readonly name: string;
  readonly picture: boolean;
  readonly note?: string; // what was cut, left out or guessed of it
}

/** A message of the page's outbox. */
export interface OutboxMessage {
  readonly text: string;
  readonly files: readonly { readonly id: string; readonly name: string; readonly isPicture?: boolean; readonly note?: string }[];
}

export interface Part {
  readonly role: "user" | "assistant";
  readonly metadata: Metadata | null;
  readonly content: readonly { readonly type: string; readonly text?: string }[];
  readonly options: readonly { readonly value: string; readonly label: string }[] | null;
}

/** The consecutive parts of one message. */
export interface MessageParts {
  readonly key: string;
  readonly role: Part["role"];
  readonly seq: number | null;
  readonly parts: readonly Part[];
}

/** What the page's other scripts offer, of which the pane uses this. */
export interface PageScripts {
  running(): boolean;
  isLeft(): boolean;
  isLost(): boolean;
  temporaryChat(): string | null;
  conversation(): string | null;
  download(path: string): void;
  box(): HTMLTextAreaElement | null;
  drafts: { fill(text: string): void; save(): void };
  ask<T>(path: string, body?: unknown): Promise<T>;
  fire(event: string, detail?: unknown): void;
  go(address: string): void;
  when(selector: string, found: (place: HTMLElement) => void): void;
  take(model: unknown): unknown[];
  say(text: string, model: unknown): unknown[];
  pane?: object;
  tap?: object;
}

declare global {
  interface DocumentEventMap {
    "cmw:unsent": CustomEvent<{ data: unknown[]; sentence: string }>;
  }
  interface Window {
    cmw: PageScripts;
    gradio_config?: GradioConfig;
  }
}

export interface GradioConfig {
  readonly components: readonly { readonly id: number; readonly type: string }[];
  readonly dependencies: readonly { readonly id: number; readonly outputs: readonly number[] }[];
}

/** The text of a part; empty where it has none. */
export function textOf(part: Part): string {
  return part.content[0]?.text ?? "";
}

/** The parts of messages, grouped by message, oldest first. */
export function grouped(parts: readonly Part[]): MessageParts[] {
  const messages: (MessageParts & { parts: Part[] })[] = [];
  const keys = new Map<string, number>();
  for (const part of parts) {
    const seq = part.metadata?.seq ?? null;
    const last = messages.at(-1);
    if (last && last.role === part.role && last.seq === seq) {
      last.parts.push(part);
      continue;
    }
    const name = `${part.role} ${seq ?? "new"}`;
    const count = keys.get(name) ?? 0;
    keys.set(name, count + 1);
    messages.push({ key: `${name} ${count}`, role: part.role, seq, parts: [part] });
  }
  return messages;
}
