/** Which versions the shown messages have, as the server says. */
interface Link {
  readonly seq: number;
  readonly role: "user" | "assistant";
  readonly versions: readonly number[];
}

export class Versions {
  private bySeq = new Map<number, readonly number[]>();
  private of: string | null = null;
  private asked = 0;

  /** @param changed Called when they were read anew. */
  constructor(private readonly changed: () => void) {}

  /** The versions of a message, itself among them; none where nothing is known of it. */
  ofMessage(seq: number | null): readonly number[] {
    const isKnown = seq !== null && this.of === window.cmw.conversation();
    return (isKnown && this.bySeq.get(seq)) || [];
  }

  async load(): Promise<void> {
    const id = window.cmw.conversation();
    const number = ++this.asked;
    let messages: readonly Link[] = [];
    try {
      if (id) ({ messages } = await window.cmw.ask<{ messages: Link[] }>(`history/versions?id=${encodeURIComponent(id)}`));
    } catch { /* a conversation that is not stored, or of nobody, has no versions */ }
    if (number !== this.asked) return;
    this.of = id;
    this.bySeq = new Map(messages.map(({ seq, versions }) => [seq, versions]));
    this.changed();
  }

  async select(seq: number): Promise<void> {
    await window.cmw.ask("history/select", { id: this.of, seq });
  }

  /** Make a conversation that ends at a message; returns its id. */
  async fork(seq: number): Promise<string> {
    const { id } = await window.cmw.ask<{ id: string }>("history/fork", { id: this.of, seq });
    return id;
  }
}
