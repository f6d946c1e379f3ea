/** Keeps the end of a text that still grows quiet: no sign of Markdown is shown and taken back. */
import type { MarkdownIt, StateCore } from "markdown-it";
import { environmentAt } from "./math_rules";
import { productAt } from "./product_rule";

// A last line of these alone may become a heading, a rule, a list or a table; behind a fence the
// name of a language is still being written.
const MARKER_LINE = /^[ \t>]*(?:[-+*_=~`#|:$\\ \t]+|(?:[-+*>]|\d{1,9}[.)]?)[ \t]*(?:\[[ xX]?\]?)?|`{3}[^`]*|~{3}.*)$/;
const MAX_HELD_CHARS = 2_000; // of an open formula, link or picture

/** Return a growing source without a last line that does not yet say what it is. */
export function withoutMarkerLine(source: string): string {
  const start = source.lastIndexOf("\n") + 1;
  if (source.length - start > 100) return source;
  return MARKER_LINE.test(source.slice(start)) ? source.slice(0, start) : source;
}

// The first rows of a table look like a paragraph until the line below them has come.
function withoutTableHead(content: string): string {
  const lines = content.split("\n");
  for (let count = 0; count < 2 && (lines.at(-1) ?? "").startsWith("|"); count += 1) lines.pop();
  return lines.join("\n");
}

/** What is open at the end of a line of text. */
interface Open {
  marks: { text: string; at: number }[];
  bracket: { at: number; isPicture: boolean } | null;
  hold: number; // from here on nothing is shown yet
}

const FORMULA: Readonly<Record<string, string>> = { "\\(": "\\)", "\\[": "\\]", $$: "$$" };

// At the end of a text half a sign waits for its other half.
function isHalf(text: string, at: number): boolean {
  const rest = text.slice(at, at + 3);
  if (at + rest.length < text.length) return false;
  return rest === "\\" || rest === "$" || rest === "$$" || rest === "~" || (rest === "!" && !/\S/.test(text.charAt(at - 1)));
}

function isHalfEnvironment(rest: string): boolean {
  return rest[0] === "\\" && ("\\begin{".startsWith(rest) || /^\\begin\{[a-z*]*$/i.test(rest));
}

// Skip what is whole from `at` on: code, an escape, a formula. Its end, or -1 where it is open.
function skip(text: string, at: number): number | null {
  if (isHalfEnvironment(text.slice(at, at + 20))) return -1;
  const environment = environmentAt(text.slice(at, at + 30));
  const two = text.slice(at, at + 2);
  const closer = environment?.closer ?? FORMULA[two] ?? /^`+/.exec(text.slice(at, at + 20))?.[0];
  if (closer === undefined) return text[at] === "\\" ? at + 2 : null;
  const end = text.indexOf(closer, at + closer.length);
  return end < 0 ? -1 : end + closer.length;
}

function bracketEnd(text: string, open: Open, at: number): number {
  const bracket = open.bracket;
  if (bracket === null || text[at] !== "]") return at + 1;
  open.bracket = null;
  if (text[at + 1] !== "(") {
    if (at + 1 === text.length) open.hold = bracket.at;
    return at + 1;
  }
  const end = text.indexOf(")", at);
  if (end >= 0) return end + 1;
  open.hold = bracket.at;
  return text.length;
}

function mark(text: string, open: Open, at: number): number {
  const run = /^(?:\*{1,3}|~{1,2}|_{1,3})/.exec(text.slice(at, at + 3))?.[0] ?? "";
  const end = at + run.length;
  const last = open.marks.map((one) => one.text).lastIndexOf(run);
  const isAfterSpace = at === 0 || /\s/.test(text.charAt(at - 1));
  const isBeforeSpace = end < text.length && /\s/.test(text.charAt(end));
  if (last >= 0 && !isAfterSpace) open.marks.splice(last);
  else if (!isBeforeSpace && (run[0] === "*" || isAfterSpace) && run !== "~") open.marks.push({ text: run, at });
  return end;
}

function scan(text: string): Open {
  const open: Open = { marks: [], bracket: null, hold: text.length };
  for (let at = 0; at < text.length; ) {
    if (isHalf(text, at)) return { ...open, hold: at };
    const end = skip(text, at);
    if (end === -1) return { ...open, hold: at };
    if (end !== null) at = end;
    else if (text[at] === "[") {
      open.bracket = { at: text[at - 1] === "!" ? at - 1 : at, isPicture: text[at - 1] === "!" };
      at += 1;
    } else if (text[at] === "]") at = bracketEnd(text, open, at);
    else if (productAt(text, at) > 0) at += productAt(text, at);
    else if (/[*_~]/.test(text.charAt(at))) at = mark(text, open, at);
    else at += 1;
  }
  return open;
}

function held(text: string, open: Open): string {
  const from = text.length - open.hold > MAX_HELD_CHARS ? text.length : open.hold;
  const rest = text.slice(from);
  if (rest === "") return text;
  const code = /^`+/.exec(rest)?.[0];
  if (code !== undefined) return rest === code ? text.slice(0, from) : `${text}${code}`;
  const label = /^\[([^\]]*)\]/.exec(rest)?.[1]; // a link whose address has not come
  return text.slice(0, from) + (label ?? "");
}

/** Return the last text of a growing source with what is open closed, or left out for now. */
export function settled(content: string): string {
  const text = withoutTableHead(content);
  const open = scan(text);
  let shown = held(text, open);
  if (open.bracket !== null && open.hold === text.length) {
    const { at, isPicture } = open.bracket;
    shown = text.slice(0, at) + (isPicture ? "" : text.slice(at + 1));
    for (const one of open.marks) if (one.at > at) one.at -= 1;
  }
  for (const { text: run, at } of [...open.marks].reverse()) {
    if (at >= shown.length) continue;
    const isEmpty = shown.slice(at + run.length).trim() === "";
    shown = isEmpty ? shown.slice(0, at) : shown.trimEnd() + run;
  }
  return shown;
}

function quieten(state: StateCore): void {
  if (state.env["isUnfinished"] !== true) return;
  const last = state.tokens.filter((token) => token.nesting === 0).at(-1);
  if (last?.type === "inline") last.content = settled(last.content);
}

/** Teach a parser to settle the end of what is unfinished (`env.isUnfinished`). */
export function unfinishedRule(md: MarkdownIt): void {
  md.core.ruler.after("block", "unfinished", quieten);
}
