/** Reads the few tags that answers write where Markdown has no sign: `<sub>`, `<sup>` and `<kbd>` around
 * a few words, and `<br>` in a table's cell. All other tags are text. */
import type { MarkdownIt, StateCore, StateInline, Token } from "markdown-it";

const PAIR = /^<(sub|sup|kbd)>([^<>\n]{1,100})<\/\1>/;
const BREAK = /<br ?\/?>/i;

function pair(state: StateInline, silent: boolean): boolean {
  if (state.src[state.pos] !== "<") return false;
  const found = PAIR.exec(state.src.slice(state.pos, state.pos + 120));
  if (found === null) return false;
  const [whole, tag = "", content = ""] = found;
  if (!silent) {
    state.push(`${tag}_open`, tag, 1);
    state.push("text", "", 0).content = content;
    state.push(`${tag}_close`, tag, -1);
  }
  state.pos += whole.length;
  return true;
}

function broken(state: StateCore, token: Token): Token[] {
  if (token.type !== "text" || !BREAK.test(token.content)) return [token];
  return token.content.split(BREAK).flatMap((content, index) => {
    const text = new state.Token("text", "", 0);
    text.content = content;
    return index > 0 ? [new state.Token("hardbreak", "br", 0), text] : [text];
  });
}

function breakCells(state: StateCore): void {
  for (const [index, token] of state.tokens.entries()) {
    const before = state.tokens[index - 1]?.type;
    if (token.type !== "inline" || (before !== "td_open" && before !== "th_open")) continue;
    token.children = token.children?.flatMap((child) => broken(state, child)) ?? null;
  }
}

/** Teach a parser these tags. */
export function pairRule(md: MarkdownIt): void {
  md.inline.ruler.before("autolink", "pair", pair);
  md.core.ruler.after("inline", "cell_breaks", breakCells);
}
