/** Reads `- [ ]` and `- [x]` as tasks of a list. */
import type { MarkdownIt, StateCore, Token } from "markdown-it";

const BOX = /^\[([ xX])\][ \t]+(?=\S)/;

// Before inline text is read: `[x]` may be the name of a link.
function find(state: StateCore): void {
  const { tokens } = state;
  for (const [index, token] of tokens.entries()) {
    const item = tokens[index - 2];
    if (token.type !== "inline" || item?.type !== "list_item_open") continue;
    const found = BOX.exec(token.content);
    if (found === null) continue;
    token.content = token.content.slice(found[0].length);
    token.meta = { isDone: found[1] !== " " };
    item.attrSet("class", "cmw-task");
  }
}

function place(state: StateCore): void {
  for (const token of state.tokens) {
    if (token.type !== "inline" || token.meta?.["isDone"] === undefined) continue;
    const box: Token = new state.Token("task_box", "", 0);
    box.meta = token.meta;
    token.children?.unshift(box);
  }
}

/** Teach a parser lists of tasks. */
export function taskRule(md: MarkdownIt): void {
  md.core.ruler.after("block", "task_find", find);
  md.core.ruler.after("inline", "task_place", place);
}
