/** Draws a text as it was written. */
import { showControls } from "./controls";
import { MAX_FORMATTED_CHARS, PLAIN_PART_CHARS } from "./limits";
import { REL, makeLink } from "./links";

// As the parser finds them: an address ends before the punctuation of its sentence.
const ADDRESS = /https?:\/\/[^\s<>"'`\u3000-\u303f\uff00-\uffef]+/gi;
const TRAILING = /[.,;:!?*_~)\]}…]+$/u;

function endOf(address: string): number {
  const cut = address.replace(TRAILING, "");
  // A closing bracket that was opened within the address is part of it.
  return cut.includes("(") && address[cut.length] === ")" ? cut.length + 1 : cut.length;
}

function appendLinked(parent: Node, text: string): void {
  let from = 0;
  for (const found of text.matchAll(ADDRESS)) {
    const end = found.index + endOf(found[0]);
    parent.appendChild(document.createTextNode(text.slice(from, found.index)));
    const address = text.slice(found.index, end);
    parent.appendChild(makeLink(address, address, REL));
    from = end;
  }
  if (from < text.length) parent.appendChild(document.createTextNode(text.slice(from)));
}

/** Return a long text in parts, each of whole lines: the browser lays out those in view alone. */
export function plainParts(text: string): DocumentFragment {
  const parts = document.createDocumentFragment();
  for (let from = 0; from < text.length; ) {
    const newline = text.indexOf("\n", from + PLAIN_PART_CHARS);
    const isNear = newline >= 0 && newline < from + 4 * PLAIN_PART_CHARS;
    let end = isNear ? newline : Math.min(text.length, from + 4 * PLAIN_PART_CHARS);
    if (/[\ud800-\udbff]/.test(text.charAt(end - 1))) end -= 1;
    const part = document.createElement("div");
    part.className = "cmw-plain-part";
    part.textContent = text.slice(from, end);
    showControls(part);
    parts.append(part);
    from = isNear ? end + 1 : end;
  }
  return parts;
}

/**
 * Draw a text exactly as it was typed, its web addresses as links.
 *
 * @param host The element that gets it; what it held goes.
 * @param text The text.
 */
export function drawPlain(host: HTMLElement, text: string): void {
  host.classList.add("cmw-plain");
  host.dir = "auto";
  if (text.length > MAX_FORMATTED_CHARS) {
    host.replaceChildren(plainParts(text));
    return;
  }
  const drawn = document.createDocumentFragment();
  appendLinked(drawn, text);
  showControls(drawn);
  host.replaceChildren(drawn);
}
