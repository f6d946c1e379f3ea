/** Leaves the backslashes of Windows paths alone: `C:\a\*.txt` and `\\server\share\_b` escape nothing. */
import type { MarkdownIt, StateInline } from "markdown-it";

const MAX_PATH = 260; // characters, as on Windows
const SEGMENTS = /^[\w .()$-]+(?:\\[\w .()$-]+)*$/;
const SHARE = /^\\\\[\w.$-]+\\[\w$]/;
const NAME = /^\\[^\s\\<>|`"]*/;
const WHOLE = /^\\\\[^\s<>|`"]*/;
const TRAILING = /[*_~.,;:!?)\]}']+$/;

// Whether a drive, and nothing but names of folders, stands before a backslash; no name ends with a space.
function isInPath(text: string, at: number): boolean {
  const colon = text[at - 1] === ":" ? at - 1 : text.lastIndexOf(":\\", at - 1);
  if (colon < 1 || /\s/.test(text.charAt(at - 1)) || at - colon > MAX_PATH || !/[A-Za-z]/.test(text.charAt(colon - 1))) return false;
  if (/[A-Za-z0-9]/.test(text.charAt(colon - 2))) return false;
  return colon === at - 1 ? /[^\s\\]/.test(text.charAt(at + 1)) : SEGMENTS.test(text.slice(colon + 2, at));
}

function path(state: StateInline, silent: boolean): boolean {
  const { src, pos } = state;
  if (src[pos] !== "\\") return false;
  const rest = src.slice(pos, pos + MAX_PATH);
  const isShare = !/[^\s("'[*_]/.test(src.charAt(pos - 1)) && SHARE.test(rest);
  if (!isShare && !isInPath(src, pos)) return false;
  const found = (isShare ? WHOLE : NAME).exec(rest)?.[0] ?? "\\";
  const kept = found.replace(TRAILING, "");
  if (!silent) state.pending += kept;
  state.pos += kept.length;
  return true;
}

/** Teach a parser paths. */
export function pathRule(md: MarkdownIt): void {
  md.inline.ruler.before("escape", "path", path);
}
