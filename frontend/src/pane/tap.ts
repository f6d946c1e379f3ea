/** Takes the messages of the conversation out of the event stream, before Gradio's script reads it.
 *
 * Gradio would apply each change to its own copy and draw it. What the pane draws, Gradio's script
 * is told stays as it is.
 */
import type { GradioConfig, Part } from "./types";

const UNCHANGED = { __type__: "update" };
const PREFIX = "data: ";
const ENDED = new Set(["process_completed", "server_stopped", "unexpected_error"]);

type Edit = readonly [action: string, path: readonly (string | number)[], value: unknown];
type Container = Record<string | number, unknown>;

interface StreamMessage {
  readonly msg: string;
  readonly event_id: string | null;
  readonly success?: boolean;
  readonly output?: { data?: unknown[] };
}

/** The parts of `value` that `edits` name are new, all others are those of `value`. */
export function patched(value: unknown, edits: readonly Edit[]): unknown {
  let result = value;
  for (const [action, path, content] of edits) result = edited(result, action, path, content);
  return result;
}

function edited(value: unknown, action: string, path: readonly (string | number)[], content: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return action === "append" ? `${value as string}${content as string}` : content;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as Container) }) as Container & unknown[];
  if (rest.length || action === "append" || action === "replace") {
    copy[step as number] = edited(copy[step as number], action, rest, content);
  } else if (action === "add" && Array.isArray(copy)) copy.splice(Number(step), 0, content);
  else if (action === "delete" && Array.isArray(copy)) copy.splice(Number(step), 1);
  else if (action === "add") copy[step as number] = content;
  else delete copy[step as number];
  return copy;
}

export class Tap {
  private readonly values = new Map<string, unknown>(); // of events that show messages, by their ids
  private drawn: Set<number> | null = null;

  constructor(private readonly show: (parts: readonly Part[]) => void) {}

  /** An event has begun. */
  joined(event: string, index: number): void {
    this.drawn ??= drawnBy(window.gradio_config);
    if (this.drawn.has(index)) this.values.set(event, undefined);
  }

  /** What Gradio's script is given of a message of the stream; null for nothing. */
  passed(text: string): string | null {
    if (!this.values.size || !text.startsWith(PREFIX)) return text;
    const message = JSON.parse(text.slice(PREFIX.length)) as StreamMessage;
    const event = message.event_id ?? "";
    if (!this.values.has(event)) return text;
    const data = message.success === false ? undefined : message.output?.data;
    const isPassed = !data?.length || this.taken(event, data, message.msg);
    if (ENDED.has(message.msg)) this.values.delete(event);
    if (!isPassed) return null;
    return data?.length ? PREFIX + JSON.stringify(message) : text;
  }

  /** The stream has ended: what ran in it comes to no end. */
  close(): void {
    this.values.clear();
  }

  private taken(event: string, data: unknown[], kind: string): boolean {
    const before = this.values.get(event);
    const isChange = kind === "process_generating" && before !== undefined;
    const value = isChange ? patched(before, data[0] as Edit[]) : data[0];
    if (value !== before && Array.isArray(value)) this.show(value as Part[]);
    this.values.set(event, value);
    data[0] = isChange ? [] : UNCHANGED;
    return !isChange || data.some((edits) => (edits as unknown[]).length);
  }
}

function drawnBy(config: GradioConfig | undefined): Set<number> {
  const chat = config?.components.find(({ type }) => type === "chatbot")?.id;
  const events = config?.dependencies.filter(({ outputs }) => chat !== undefined && outputs[0] === chat) ?? [];
  return new Set(events.map(({ id }) => id));
}
