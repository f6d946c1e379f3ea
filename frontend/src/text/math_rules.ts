/** Reads formulas: `\( \)`, `\[ \]`, `$$ $$`, `$ $` where it cannot be a price, and `\begin{align}` on lines of its own. */
import type { MarkdownIt, StateBlock, StateInline } from "markdown-it";
import { MAX_FORMULA_CHARS } from "./limits";

const CLOSERS: Readonly<Record<string, string>> = { "\\(": "\\)", "\\[": "\\]", $$: "$$" };
const ALNUM = /[\p{L}\p{N}]/u;
const UNSPACED = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\p{sc=Thai}]/u; // scripts that put no space beside a formula
const SIGN = /[\\^_={}<>+*/|]/;
const PROSE = /(?:^|\s)\p{L}{3,}/u;

// Escaped brackets and pairs of dollars stand in prose too: words without any sign are no formula.
function isProse(content: string): boolean {
  return !SIGN.test(content) && PROSE.test(content);
}

function isFormula(content: string): boolean {
  return content.trim() !== "" && content.length <= MAX_FORMULA_CHARS && !isProse(content);
}

// Where no closer stands behind a place, none stands behind a later one.
function closerAt(state: StateInline, closer: string, from: number): number {
  const key = `no ${closer}`;
  if (state.env[key] === state.src) return -1;
  const at = state.src.indexOf(closer, from);
  if (at < 0) state.env[key] = state.src;
  return at;
}

function pushFormula(state: StateInline, tex: string, isDisplay: boolean, end: number, silent: boolean): true {
  if (!silent) {
    const token = state.push("math", "", 0);
    token.content = tex.trim();
    token.meta = { isDisplay };
  }
  state.pos = end;
  return true;
}

function delimited(state: StateInline, silent: boolean): boolean {
  const opener = state.src.slice(state.pos, state.pos + 2);
  const closer = CLOSERS[opener];
  if (closer === undefined) return false;
  const from = state.pos + 2;
  const at = closerAt(state, closer, from);
  const content = at < 0 ? "" : state.src.slice(from, at);
  // `\[1\](url)` is a link whose brackets were escaped.
  const isBracket = opener === "\\[" && (state.src[at + 2] === "(" || /^[\w\s]$/.test(content));
  if (at >= 0 && isFormula(content) && !isBracket) {
    return pushFormula(state, content, opener !== "\\(", at + 2, silent);
  }
  if (opener !== "$$") return false;
  if (!silent) state.pending += opener;
  state.pos = from;
  return true;
}

// Whether a formula may stand beside this character.
function isBeside(character: string, content: string): boolean {
  return !ALNUM.test(character) || (UNSPACED.test(character) && !UNSPACED.test(content));
}

// Pandoc's rule, and neither a letter nor a digit beside either dollar.
function dollar(state: StateInline, silent: boolean): boolean {
  const { src, pos } = state;
  if (src[pos] !== "$" || /[\s$]/.test(src[pos + 1] ?? " ") ) return false;
  let at = pos + 1;
  while (at < src.length && !/[$`\n]/.test(src.charAt(at))) at += src[at] === "\\" ? 2 : 1;
  const content = src.slice(pos + 1, at);
  const isClosed = src[at] === "$" && !/\s$/.test(content) && src[at + 1] !== "$"
    && isBeside(src[pos - 1] ?? " ", content) && isBeside(src[at + 1] ?? " ", content);
  const isPrice = /^[\d.,]+\s/.test(content) && PROSE.test(content) && !content.includes("\\");
  if (!isClosed || isPrice || !isFormula(content)) return false;
  return pushFormula(state, content, false, at + 1, silent);
}

const ENVIRONMENT =
  /^\\begin\{((?:align|alignat|aligned|gather|gathered|equation|split|cases|rcases|array|CD|[bpvBV]?matrix)\*?)\}/;

/** The signs of an environment of TeX that a text begins with. */
export function environmentAt(text: string): { opener: string; closer: string } | null {
  const [opener, name] = ENVIRONMENT.exec(text) ?? [];
  return opener === undefined ? null : { opener, closer: `\\end{${name}}` };
}

function lineAt(state: StateBlock, line: number): string {
  return state.src.slice((state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0), state.eMarks[line]);
}

// A formula on lines of its own ends before a blank line, or it is none: what is above a blank
// line never depends on what is below it.
function findBlock(state: StateBlock, start: number, end: number): { tex: string; next: number } | null {
  const first = lineAt(state, start);
  const environment = environmentAt(first);
  const opener = environment?.opener ?? first.slice(0, 2);
  const closer = environment?.closer ?? CLOSERS[opener];
  if (closer === undefined || opener === "\\(") return null;
  const lines = [first.slice(opener.length)];
  for (let line = start; ; ) {
    const text = lines.at(-1) ?? "";
    const at = text.indexOf(closer);
    if (at >= 0) {
      const rest = text.slice(at + closer.length).trim();
      if (!/^[.,;:]?$/.test(rest)) return null;
      lines[lines.length - 1] = text.slice(0, at) + (environment ? closer : "") + rest;
      return { tex: (environment ? opener : "") + lines.join("\n"), next: line + 1 };
    }
    line += 1;
    if (line >= end || state.isEmpty(line) || (state.sCount[line] ?? 0) < state.blkIndent) return null;
    lines.push(lineAt(state, line));
    if (lines.length > 200) return null;
  }
}

function block(state: StateBlock, start: number, end: number, silent: boolean): boolean {
  if ((state.sCount[start] ?? 0) - state.blkIndent >= 4) return false;
  const found = findBlock(state, start, end);
  if (found === null || !isFormula(found.tex)) return false;
  if (silent) return true;
  const token = state.push("math_block", "", 0);
  token.content = found.tex.trim();
  token.map = [start, found.next];
  token.block = true;
  state.line = found.next;
  return true;
}

/** Teach a parser formulas. */
export function mathRules(md: MarkdownIt): void {
  md.block.ruler.before("fence", "math_block", block, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
  md.inline.ruler.before("escape", "math", delimited);
  md.inline.ruler.before("escape", "dollar", dollar);
}
