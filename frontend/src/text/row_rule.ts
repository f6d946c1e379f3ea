/** Keeps all of a table's row: a bar within code or a formula parts no cells, and what stands in more
 * cells than the table has columns stays in the last one. */
import type { MarkdownIt, StateCore, Token } from "markdown-it";

// A bar within these parts nothing.
const WHOLE = /\\\||`[^`]{1,500}`|\\\(.{1,500}?\\\)|\$[^\s$](?:[^$]{0,500}[^\s$])?\$/y;

/** Return the cells of a row as they are written. */
function cellsOf(row: string): string[] {
  const cells = [""];
  for (let at = 0; at < row.length; ) {
    WHOLE.lastIndex = at;
    const part = row[at] === "|" ? "|" : WHOLE.exec(row)?.[0] ?? row.charAt(at);
    if (part === "|") cells.push("");
    else cells[cells.length - 1] += part.replaceAll("\\|", "|");
    at += part.length;
  }
  if (cells[0] === "") cells.shift();
  if (cells.at(-1) === "") cells.pop();
  return cells;
}

function keepRow(row: string, columns: readonly Token[]): void {
  const ends = Number(row.startsWith("|")) + Number(row.endsWith("|"));
  if (row.split("|").length - ends <= columns.length) return;
  const cells = cellsOf(row);
  const rest = cells.splice(columns.length - 1).join("|");
  for (const [index, cell] of columns.entries()) {
    cell.content = (index === columns.length - 1 ? rest : cells[index] ?? "").trim();
  }
}

function keepRows(state: StateCore): void {
  let lines: string[] | null = null;
  for (const [index, token] of state.tokens.entries()) {
    if (token.type !== "tr_open" || token.map === null || state.tokens[index + 1]?.type !== "td_open") continue;
    lines ??= state.src.split("\n");
    const columns: Token[] = [];
    for (let at = index + 1; state.tokens[at]?.type !== "tr_close" && at < state.tokens.length; at += 1) {
      if (state.tokens[at]?.type === "inline") columns.push(state.tokens[at]!);
    }
    keepRow((lines[token.map[0]] ?? "").replace(/^[\s>]+/, "").trimEnd(), columns);
  }
}

/** Teach a parser whole rows. */
export function rowRule(md: MarkdownIt): void {
  md.core.ruler.after("block", "whole_rows", keepRows);
}
