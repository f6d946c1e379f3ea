/** Shows the characters that would change how a text looks without being seen. */
const NAMES: Readonly<Record<number, string>> = {
  0x1b: "ESC", 0x200b: "ZWSP", 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO",
  0x202e: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xfeff: "BOM",
};
// Marks and isolates are good writing where text runs from right to left; in code they deceive.
// A flag of a region is written with tags: it is found first, and stays.
/* oxlint-disable no-control-regex -- these are looked for */
const IN_TEXT =
  /\u{1f3f4}[\u{e0020}-\u{e007f}]+|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u{e0000}-\u{e007f}]/gu;
const IN_CODE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;
/* oxlint-enable no-control-regex */

function nameOf(code: number): string {
  return NAMES[code] ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function mark(character: string): HTMLElement {
  const code = character.codePointAt(0) ?? 0;
  const made = document.createElement("span");
  made.className = "cmw-control";
  made.dataset["code"] = String(code);
  made.dataset["name"] = nameOf(code);
  made.title = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  return made;
}

function showIn(node: Text, pattern: RegExp): void {
  const shown = document.createDocumentFragment();
  let from = 0;
  for (const found of node.data.matchAll(pattern)) {
    if ([...found[0]].length > 1) continue; // a flag
    shown.append(node.data.slice(from, found.index), mark(found[0]));
    from = found.index + found[0].length;
  }
  if (from === 0) return;
  shown.append(node.data.slice(from));
  node.replaceWith(shown);
}

/** Put marks in the place of unseen characters below a node. */
export function showControls(root: DocumentFragment | Element): void {
  if ((root.textContent ?? "").search(IN_CODE) < 0) return;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes: Text[] = [];
  while (walker.nextNode()) nodes.push(walker.currentNode as Text);
  for (const node of nodes) showIn(node, node.parentElement?.closest("code") ? IN_CODE : IN_TEXT);
}

/** Return an element's text as it was written, unseen characters included. */
export function writtenText(element: Element): string {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  let text = "";
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node instanceof Text) text += node.data;
    else if (node instanceof HTMLElement && node.className === "cmw-control") {
      text += String.fromCodePoint(Number(node.dataset["code"]));
    }
  }
  return text;
}
