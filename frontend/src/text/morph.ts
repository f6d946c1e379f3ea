/** Changes a drawn piece of text into its new form, and leaves alone what has not changed. */

// What the reader has set stays set.
const OF_THE_READER = new Set(["data-wrapped", "aria-pressed"]);

function isSame(one: Node, other: Node): boolean {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName;
}

function changeAttributes(live: Element, fresh: Element): void {
  for (const { name } of [...live.attributes]) {
    if (!fresh.hasAttribute(name) && !OF_THE_READER.has(name)) live.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (live.getAttribute(name) !== value && !OF_THE_READER.has(name)) live.setAttribute(name, value);
  }
}

// Appending keeps a selection within the text, which replacing would drop.
function changeText(live: CharacterData, text: string): void {
  if (live.data === text) return;
  if (text.startsWith(live.data)) live.appendData(text.slice(live.data.length));
  else live.data = text;
}

/**
 * Change `live` into `fresh`, which has the same name.
 *
 * @param live A node of the document.
 * @param fresh A node that is nowhere else; its children may be moved.
 */
export function morph(live: Node, fresh: Node): void {
  if (live instanceof CharacterData) {
    changeText(live, fresh.textContent ?? "");
    return;
  }
  if (live instanceof Element && fresh instanceof Element) changeAttributes(live, fresh);
  const wanted = [...fresh.childNodes];
  for (const [index, child] of wanted.entries()) {
    const current = live.childNodes[index];
    if (current === undefined) live.appendChild(child);
    else if (isSame(current, child)) morph(current, child);
    else live.replaceChild(child, current);
  }
  while (live.childNodes.length > wanted.length) live.lastChild?.remove();
}
