/** Splits a text into its top-level blocks, and finds those that can no longer change. */
import type { Token } from "markdown-it";
import { MAX_CELLS, MAX_INLINE_CHARS, MAX_NESTING } from "./limits";

/** Why a block is shown as it was written. */
export type Refusal = "tooManyCells" | "tooDeep" | "tooLong";

/** A top-level block: its lines, and the tokens of its parse. */
export interface Block {
  start: number;
  end: number;
  tokens: Token[];
}

/** Return the top-level blocks of parsed tokens, in order. */
export function blocksOf(tokens: readonly Token[]): Block[] {
  const blocks: Block[] = [];
  for (const token of tokens) {
    if (token.level === 0 && token.nesting >= 0 && token.map !== null) {
      blocks.push({ start: token.map[0], end: token.map[1], tokens: [] });
    }
    blocks.at(-1)?.tokens.push(token);
  }
  return blocks;
}

/** Return why a block cannot be formatted, or null. */
export function refusalOf(block: Block): Refusal | null {
  let cells = 0;
  for (const token of block.tokens) {
    if (token.type === "td_open" || token.type === "th_open") cells += 1;
    // Below this depth the parser leaves the text out.
    if (token.level >= MAX_NESTING - 2) return "tooDeep";
    if (token.type === "inline" && token.content.length > MAX_INLINE_CHARS) return "tooLong";
  }
  return cells > MAX_CELLS ? "tooManyCells" : null;
}

/** Return the places in a text at which its lines begin. */
export function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

/**
 * Return how many of the blocks are final, however the text goes on.
 *
 * Blocks are read line by line, and no rule looks beyond a blank line. So whatever stands above a
 * block that begins on a whole line, below a blank one, is read and will not be read otherwise.
 */
export function finalCount(text: string, starts: readonly number[], blocks: readonly Block[]): number {
  for (let index = blocks.length - 1; index > 0; index -= 1) {
    const line = blocks[index]!.start;
    const isWhole = line + 1 < starts.length;
    const above = text.slice(starts[line - 1], (starts[line] ?? 1) - 1);
    if (isWhole && /^[ \t]*$/.test(above)) return index;
  }
  return 0;
}
