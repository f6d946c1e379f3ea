/** Gives a piece of drawn text its controls: of code, tables, pictures and links. */
import { FILE, REL, SHARED_REL, isLink, isShownFile, isWebLink, lead, makeLink, RASTER } from "./links";
import { isForeign } from "./options";
import type { TextLabels, TextOptions } from "./options";

function button(className: string, label: string): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.className = className;
  made.textContent = label;
  return made;
}

/** Make an element that scrolls by itself reachable by keyboard, with a name. */
function scrollable(element: HTMLElement, label: string): void {
  element.tabIndex = 0;
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", label);
}

function codeBox(pre: HTMLElement, labels: TextLabels): HTMLElement {
  const language = pre.dataset["language"] ?? "";
  const box = document.createElement("div");
  box.className = "cmw-code-box";
  box.dir = "ltr";
  const bar = document.createElement("div");
  bar.className = "cmw-code-bar";
  const name = document.createElement("span");
  name.className = "cmw-code-language";
  name.textContent = language;
  const wrap = button("cmw-code-wrap", labels.wrap);
  wrap.setAttribute("aria-pressed", "false");
  bar.append(name, wrap, button("cmw-code-copy", labels.copy));
  pre.replaceWith(box);
  box.append(bar, pre);
  scrollable(pre, language === "" ? labels.code : `${labels.code}: ${language}`);
  return box;
}

function tableBox(table: Element, labels: TextLabels): void {
  const box = document.createElement("div");
  box.className = "cmw-table";
  scrollable(box, labels.table);
  const direction = table.getAttribute("dir");
  if (direction !== null) box.setAttribute("dir", direction);
  table.replaceWith(box);
  box.append(table);
}

// Null where the page has no address for a file, or leads nowhere into its own site.
function addressOf(href: string, options: TextOptions): string | null {
  if (FILE.test(href) && options.fileUrl !== undefined) return options.fileUrl(href);
  return isForeign(options) && !isWebLink(href) ? null : href;
}

// What is no link stands as it is, and its address beside it.
function unlinked(text: string, address: string): string {
  return FILE.test(address) || !address ? text.trim() : `${text} (${address})`;
}

function picture(found: HTMLElement, options: TextOptions, rel: string): Node {
  const source = found.dataset["source"] ?? "";
  const text = found.textContent ?? "";
  const address = RASTER.test(source) ? source : addressOf(source, options);
  const isFile = FILE.test(source) && options.fileUrl !== undefined;
  if (address !== null && (RASTER.test(source) || (isFile && isShownFile(address)))) {
    const image = document.createElement("img");
    image.alt = text;
    image.src = address;
    image.loading = "lazy";
    return image;
  }
  if (address === null || !isLink(address)) return document.createTextNode(unlinked(text, source));
  return makeLink(address, text || address, rel);
}

function links(root: DocumentFragment, options: TextOptions, rel: string): void {
  for (const found of root.querySelectorAll("a")) {
    const href = found.getAttribute("href") ?? "";
    const address = addressOf(href, options);
    if (address) lead(found, address, rel);
    else found.replaceWith(...found.childNodes, ...(isForeign(options) ? [unlinked(" ", href)] : []));
  }
}

/** Give a piece of text its controls; its code boxes are returned by `querySelector`. */
export function decorate(root: DocumentFragment, options: TextOptions, labels: TextLabels): void {
  const rel = options.kind === "share" ? SHARED_REL : REL;
  links(root, options, rel);
  for (const found of root.querySelectorAll<HTMLElement>(".cmw-image")) found.replaceWith(picture(found, options, rel));
  for (const pre of root.querySelectorAll<HTMLElement>("pre.cmw-code")) codeBox(pre, labels);
  for (const table of root.querySelectorAll("table")) tableBox(table, labels);
  for (const box of root.querySelectorAll<HTMLElement>(".cmw-box")) {
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", box.dataset["done"] === undefined ? labels.toDo : labels.done);
  }
  for (const formula of root.querySelectorAll<HTMLElement>(".cmw-math")) formula.dir = "ltr";
}
