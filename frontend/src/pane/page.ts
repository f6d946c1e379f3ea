/** Puts the pane into the page, and joins it to the page's other scripts. */
import type { Deeds } from "./actions";
import { t } from "../language";
import { pressHidden } from "./dom";
import { Pane } from "./pane";
import type { Explanation } from "./rating";
import { Tap } from "./tap";
import type { MessageParts, OutboxMessage, Part, Rating } from "./types";

let pane: Pane | null = null;
let early: readonly Part[] | null = null; // what came before the pane was there
let rated: (() => void) | null = null; // takes the last rating back, should it not be stored
let chosen: (string | null)[] = []; // the values of the event that a hidden button begins

function begin(id: string, ...values: (string | null)[]): void {
  chosen = values;
  rated = null;
  pane?.follow.toEnd();
  pane?.scroller.focus({ preventScroll: true }); // or it would be lost with the button that was pressed
  pressHidden(id);
}

function partsOf({ text, files }: OutboxMessage): Part[] {
  const part = (metadata: Part["metadata"], content: string): Part => (
    { role: "user", metadata, content: [{ type: "text", text: content }], options: null });
  const attached = files.map(({ id, name, isPicture, note }) => (
    { id, name, picture: Boolean(isPicture), ...(note ? { note } : {}) }));
  const shown = attached.length ? [part({ kind: "files", files: attached }, "")] : [];
  return text.trim() || !attached.length ? [...shown, part(null, text)] : shown;
}

const place = ({ seq }: MessageParts) => String(seq ?? "");

function retry(message: MessageParts): void {
  const question = pane?.questionOf(message);
  if (question && !window.cmw.running()) begin("cmw-retry", place(question));
}

function edit(message: MessageParts): void {
  pane?.editorOf(message, (text) => {
    if (window.cmw.running()) return t("An answer is being written. Wait for its end, or stop it, then submit this.");
    if (window.cmw.isLost()) return t("There is no connection. Please submit this once it is back.");
    begin("cmw-edit", place(message), text);
    return null;
  });
}

function rate(message: MessageParts, rating: Rating | null): void {
  const before = message.parts[0]?.metadata?.rating ?? null;
  const set = (value: Rating | null) => pane?.rate(message.seq, value);
  rated = () => {
    set(before);
    pane?.explain(message, null, explain);
  };
  set(rating);
  const id = window.cmw.conversation();
  async function explain(explanation: Explanation): Promise<void> {
    await window.cmw.ask("history/rating", { id, seq: message.seq, rating, ...explanation });
    pane?.signs.say(t("Thank you. What you said of the answer is stored."));
  }
  pane?.explain(message, rating, explain);
  if (rating) pane?.signs.say(t("The answer is rated. Below it you may say why."));
  chosen = [place(message), rating ?? ""];
  pressHidden("cmw-rate");
}

// What was being edited is no draft of its own: it goes into the one of the message box.
function keep(edited: readonly string[]): void {
  const { drafts, box } = window.cmw;
  const texts = edited.filter((text) => text.trim());
  if (!texts.length) return;
  drafts.fill([...texts, box()?.value ?? ""].filter((text) => text.trim()).join("\n\n"));
  drafts.save();
}

const deeds: Deeds = {
  edit, retry, rate, keep,
  speak: (message) => pane?.speak(message),
  say: (text) => pane?.signs.say(text),
  fail: (text) => pane?.signs.fail(text),
  async select(seq) {
    await pane?.versions.select(seq);
    pressHidden("cmw-redraw");
    await pane?.versions.load();
  },
  async fork(seq) {
    const id = await pane?.versions.fork(seq);
    const url = new URL(location.href);
    if (id) url.searchParams.set("c", id);
    if (id) window.cmw.go(url.href);
  },
};

function show(parts: readonly Part[]): void {
  if (pane) pane.show(parts);
  else early = parts;
}

function mount(found: HTMLElement): void {
  pane = new Pane(deeds);
  found.replaceChildren(pane.element);
  if (early) pane.show(early);
  early = null;
  window.cmw.when("#cmw-input", (input) => {
    if (pane) input.before(pane.signs.silence);
  });
}

/** Make the pane and what the page's other scripts use of it. */
export function start(): void {
  const { cmw } = window;
  cmw.tap = new Tap(show);
  cmw.pane = {
    chosen: () => (chosen.length === 1 ? chosen[0] : chosen),
    unrated: () => rated?.(),
    suggest: (texts: readonly string[], take: (text: string) => void) => pane?.suggest(texts, take),
    // A message of the outbox that is on its way; null once it is not.
    sent: (message: OutboxMessage | null) => pane?.sent(message && partsOf(message)),
    // The row of a message that was found; the page does not follow the end any more.
    rowOf(seq: number) {
      const row = pane?.rowOf(seq) ?? null;
      if (row) pane?.follow.leave();
      return row;
    },
  };
  const { take, say } = cmw;
  cmw.take = (model) => { pane?.follow.toEnd(); return take(model); };
  cmw.say = (text, model) => { pane?.follow.toEnd(); return say(text, model); };
  document.addEventListener("cmw:busy", () => pane?.signs.begun());
  document.addEventListener("cmw:idle", () => {
    pane?.settle();
    if (!cmw.isLeft()) void pane?.versions.load();
  });
  document.addEventListener("cmw:unsent", ({ detail }) => {
    if (JSON.stringify(detail.data) !== JSON.stringify(chosen)) return;
    rated?.();
    if (pane?.edited.length) pane.signs.fail(detail.sentence || t("The edit could not be sent. Please submit it again."));
  });
  window.addEventListener("pagehide", () => keep(pane?.edited ?? []));
  // Before the draft is put away.
  document.addEventListener("cmw:leaving", () => keep(pane?.takeEdited() ?? []), true);
  document.addEventListener("cmw:opened", () => pane?.opened());
  document.addEventListener("cmw:named", () => void pane?.versions.load());
  document.addEventListener("cmw:leaving", () => pane?.leaving());
  cmw.when("#cmw-chat", mount);
}
