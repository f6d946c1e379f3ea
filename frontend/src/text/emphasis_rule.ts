/** Lets `**` end behind a sign and begin before one within a word, as answers write it: `**Note:**text`. */
import type { MarkdownIt } from "markdown-it";

const STAR = 0x2a;
const ENDING = /[:.;!?…%)\]}»”’"']/;
const BEGINNING = /[([{«“„‘"']/;
const WORD = /[\p{L}\p{N}]/u;

/** Teach a parser this emphasis; CommonMark asks for a space beside such a sign. */
export function emphasisRule(md: MarkdownIt): void {
  md.inline.State = class extends md.inline.State {
    override scanDelims(start: number, canSplitWord: boolean): ReturnType<InstanceType<typeof md.inline.State>["scanDelims"]> {
      const found = super.scanDelims(start, canSplitWord);
      if (this.src.charCodeAt(start) !== STAR || found.length < 2) return found;
      const before = this.src.charAt(start - 1);
      const after = this.src.charAt(start + found.length);
      const ends = ENDING.test(before) && WORD.test(after);
      const begins = WORD.test(before) && BEGINNING.test(after);
      return { ...found, can_close: found.can_close || ends, can_open: found.can_open || begins };
    }
  };
}
