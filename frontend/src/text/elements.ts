/** Makes elements of the markup that the renderers write. No HTML parser reads it, so a page that
 * demands Trusted Types, or has a parser's surprises, changes nothing: an element or attribute that
 * is on no list is not made.
 */
import { isLink } from "./links";

const TEXT_TAGS = (
  "a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr kbd li ol p pre s span strong sub sup table tbody td th thead tr ul"
).split(" ");
const TEXT_ATTRIBUTES = (
  "class data-align data-auto data-display data-done data-language data-open data-source dir href start"
).split(" ");
const MATH_TAGS = (
  "math annotation maction menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms "
  + "mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover semantics"
).split(" ");
const MATH_ATTRIBUTES = (
  "accent accentunder class columnalign columnlines columnspacing depth display displaystyle encoding fence form frame height "
  + "linebreak linethickness lspace mathbackground mathcolor mathsize mathvariant maxsize minsize movablelimits notation "
  + "rowlines rowspacing rspace scriptlevel separator stretchy symmetric voffset width"
).split(" ");
const OWN_CLASS = /^(?:cmw-[\w-]+|hljs(?:-[\w-]+)?|[a-z]+_|katex)$/;
const VOID = new Set(["br", "hr"]);
const MATHML = "http://www.w3.org/1998/Math/MathML";
const TAG = /<(\/?)([a-z][a-z0-9-]*)((?:\s+[a-z:-]+\s*="[^"]*")*)\s*>/gi;
const ATTRIBUTE = /([a-z:-]+)\s*="([^"]*)"/gi;
const ESCAPE = /&(?:amp|lt|gt|quot|#x27|#39);/g;
const CHARACTERS: Readonly<Record<string, string>> = {
  "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&#39;": "'",
};

/** What a piece of markup is: the text's own, coloured code, or a formula. */
export type Piece = "text" | "code" | "math";

interface Lists {
  readonly tags: ReadonlySet<string>;
  readonly attributes: ReadonlySet<string>;
}

const LISTS: Readonly<Record<Piece, Lists>> = {
  text: { tags: new Set(TEXT_TAGS), attributes: new Set(TEXT_ATTRIBUTES) },
  code: { tags: new Set(["span"]), attributes: new Set(["class"]) },
  math: { tags: new Set(["span", ...MATH_TAGS]), attributes: new Set(MATH_ATTRIBUTES) },
};
const MATH_NAMES = new Set(MATH_TAGS);

function unescaped(text: string): string {
  return text.includes("&") ? text.replace(ESCAPE, (escape) => CHARACTERS[escape] ?? escape) : text;
}

function setAttributes(element: Element, written: string, { attributes }: Lists): void {
  for (const [, name = "", escaped = ""] of written.matchAll(ATTRIBUTE)) {
    if (!attributes.has(name)) continue;
    const value = unescaped(escaped);
    if (name === "class") {
      const own = value.split(/\s+/).filter((one) => OWN_CLASS.test(one)).join(" ");
      if (own) element.setAttribute("class", own);
    } else if (name !== "href" || isLink(value)) element.setAttribute(name, value);
  }
}

/**
 * Return a renderer's markup as elements that can run, load and send nothing.
 *
 * @param markup Tags in lower case, attributes in double quotes, all text escaped.
 * @param piece Which elements and attributes are made; of others the content stays.
 */
export function elementsOf(markup: string, piece: Piece): DocumentFragment {
  const lists = LISTS[piece];
  const root = document.createDocumentFragment();
  const open: { name: string; node: Node }[] = [{ name: "", node: root }];
  let from = 0;
  const append = (child: Node | string): void => {
    const node = typeof child === "string" ? document.createTextNode(unescaped(child)) : child;
    open.at(-1)!.node.appendChild(node);
  };
  for (const found of markup.matchAll(TAG)) {
    const [whole, slash, name = "", attributes = ""] = found;
    if (found.index > from) append(markup.slice(from, found.index));
    from = found.index + whole.length;
    if (slash) {
      if (open.length > 1 && open.at(-1)!.name === name) open.pop();
      continue;
    }
    const { node: parent } = open.at(-1)!;
    let node = parent;
    if (lists.tags.has(name)) {
      const element = MATH_NAMES.has(name) ? document.createElementNS(MATHML, name) : document.createElement(name);
      setAttributes(element, attributes, lists);
      append(element);
      node = element;
    }
    if (!VOID.has(name)) open.push({ name, node });
  }
  if (from < markup.length) append(markup.slice(from));
  return root;
}
