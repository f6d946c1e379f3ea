/** The Markdown that answers are written in. */
import createParser, { type MarkdownIt, type StateCore } from "markdown-it";
import cjkFriendly from "markdown-it-cjk-friendly";
import { directionRule } from "./direction_rule";
import { emphasisRule } from "./emphasis_rule";
import { MAX_NESTING } from "./limits";
import { isAddress } from "./links";
import { mathRules } from "./math_rules";
import { pairRule } from "./pair_rule";
import { pathRule } from "./path_rule";
import { productRule } from "./product_rule";
import { renderRules } from "./renderer";
import { rowRule } from "./row_rule";
import { taskRule } from "./task_rule";
import { unfinishedRule } from "./unfinished";

const CLOSING_FENCE = /^[ \t>]*(?:`{3,}|~{3,})[ \t]*$/;

// A fence without its end is still being written: nothing is coloured or drawn from it yet.
function markOpenFence(state: StateCore): void {
  const last = state.tokens.filter((token) => token.type === "fence").at(-1);
  if (last?.map == null) return;
  const lines = state.src.trimEnd().split("\n");
  if (last.map[1] < lines.length) return;
  const isClosed = last.map[1] - last.map[0] > 1 && CLOSING_FENCE.test(lines[last.map[1] - 1] ?? "");
  if (!isClosed) last.meta = { isOpen: true };
}

// HTML in a text is text but for a few tags; one newline is one line break.
function makeParser(): MarkdownIt {
  const md = createParser({ html: false, linkify: true, breaks: true, maxNesting: MAX_NESTING });
  md.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
  md.linkify.add("ftp:", null).add("//", null).add("mailto:", null);
  md.validateLink = isAddress;
  md.core.ruler.after("block", "open_fence", markOpenFence);
  md.use(cjkFriendly).use(emphasisRule).use(mathRules).use(pathRule).use(productRule).use(rowRule).use(pairRule);
  md.use(taskRule).use(directionRule).use(unfinishedRule);
  renderRules(md);
  return md;
}

/** The parser of all texts: what it learns of one stands in that text's own environment. */
export const parser = makeParser();
