/** Gives each block its direction of writing. */
import type { MarkdownIt, StateCore, Token } from "markdown-it";

const LEAVES = new Set(["paragraph_open", "heading_open", "th_open", "td_open"]);
const CONTAINERS = new Set(["bullet_list_open", "ordered_list_open", "list_item_open", "blockquote_open", "table_open"]);
const LETTER = /\p{L}/u;
const RIGHT_TO_LEFT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;

function directionOf(text: string): "rtl" | "ltr" | null {
  const letter = LETTER.exec(text)?.[0];
  return letter === undefined ? null : RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
}

// The browser's "auto" looks past what has a direction of its own, and so finds nothing in a list
// of paragraphs: a container gets the direction of its first letter, a leaf "auto".
function direct(state: StateCore): void {
  let open: Token[] = []; // containers of which no letter has come
  for (const token of state.tokens) {
    if (token.nesting === -1 && open.length > 0) open = open.filter((container) => container.level < token.level);
    else if (LEAVES.has(token.type)) token.attrSet("data-auto", "");
    else if (CONTAINERS.has(token.type)) open.push(token);
    else if (token.type === "inline" && open.length > 0) {
      const direction = directionOf(token.content);
      if (direction !== null) for (const container of open.splice(0)) container.attrSet("dir", direction);
    }
  }
}

/**
 * Let the browser find the direction of leaf blocks, once all else is in its place: with each change
 * below `dir=auto` it reads the text again.
 */
export function setDirections(root: DocumentFragment): void {
  for (const leaf of root.querySelectorAll<HTMLElement>("[data-auto]")) {
    leaf.removeAttribute("data-auto");
    leaf.dir = "auto";
  }
}

/** Teach a parser directions. */
export function directionRule(md: MarkdownIt): void {
  md.core.ruler.after("block", "direction", direct);
}
