/** Leaves the asterisks of products, powers and patterns of paths alone: `2*3*4` is no emphasis, nor are
 * `2**10`, `a*b and c*d`, `/src/*.js`. */
import type { MarkdownIt, StateInline } from "markdown-it";

const ASCII_WORD = /[A-Za-z0-9]/;
const DIGIT = /[0-9]/;
const LOOK_BACK = 200; // characters in which emphasis may have begun
const OPENER = /(?:^|[^A-Za-z0-9*])\*\*(?=[^\s*])/g;
const SINGLE_OPENER = /(?<![\p{L}\p{N}*])\*(?=[^\s*])/gu;
const SINGLE_CLOSER = /[^\s*]\*(?![\p{L}\p{N}*])/gu;
const CLOSER = /[^\s*]\*\*(?![A-Za-z0-9*])/g;

function isEmphasized(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - LOOK_BACK), at);
  return (before.match(OPENER)?.length ?? 0) > (before.match(CLOSER)?.length ?? 0);
}

// Within a word one asterisk is emphasis only where another one ends it within that word, or has begun it.
function isFactor(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - LOOK_BACK), at);
  const word = before.slice(before.search(/\S*$/));
  const isOpen = (before.match(SINGLE_OPENER)?.length ?? 0) > (before.match(SINGLE_CLOSER)?.length ?? 0)
    || word.split("*").length % 2 === 0;
  return !isOpen && /^[^\s*]+\s/.test(text.slice(at + 1, at + LOOK_BACK));
}

/** Return how many asterisks of a product or a power stand at a place of a text: 0, 1 or 2. */
export function productAt(text: string, at: number): number {
  const before = text.charAt(at - 1);
  if (text[at] !== "*" || before === "*") return 0;
  const signs = text[at + 1] === "*" ? 2 : 1;
  const after = text.charAt(at + signs);
  if (signs === 1 && before === "/" && /[/.]/.test(after)) return 1;
  const areWords = ASCII_WORD.test(before) && ASCII_WORD.test(after);
  if (signs === 1 && areWords && isFactor(text, at)) return 1;
  const isWithin = areWords && (DIGIT.test(before) || DIGIT.test(after));
  return isWithin && (signs === 1 || !isEmphasized(text, at)) ? signs : 0;
}

function product(state: StateInline, silent: boolean): boolean {
  const signs = productAt(state.src, state.pos);
  if (signs === 0) return false;
  if (!silent) state.pending += "*".repeat(signs);
  state.pos += signs;
  return true;
}

/** Teach a parser products. */
export function productRule(md: MarkdownIt): void {
  md.inline.ruler.before("emphasis", "product", product);
}
