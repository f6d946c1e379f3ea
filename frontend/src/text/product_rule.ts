/** Leaves the asterisks of products alone: `2*3*4` is no emphasis. */
import type { MarkdownIt, StateInline } from "markdown-it";

const ASCII_WORD = /[A-Za-z0-9]/;
const DIGIT = /[0-9]/;

/** Whether the sign at a place of a text is one asterisk within a product. */
export function isProduct(text: string, at: number): boolean {
  const before = text.charAt(at - 1);
  const after = text.charAt(at + 1);
  const isWithin = ASCII_WORD.test(before) && ASCII_WORD.test(after);
  return text[at] === "*" && isWithin && (DIGIT.test(before) || DIGIT.test(after));
}

function product(state: StateInline, silent: boolean): boolean {
  if (!isProduct(state.src, state.pos)) return false;
  if (!silent) state.pending += "*";
  state.pos += 1;
  return true;
}

/** Teach a parser products. */
export function productRule(md: MarkdownIt): void {
  md.inline.ruler.before("emphasis", "product", product);
}
