/** Lets nothing into the document but the elements and attributes of formatted text. */
import createPurifier, { type Config } from "dompurify";
import { isLink } from "./links";

const TAGS = (
  "a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul"
).split(" ");
const ATTRIBUTES = (
  "class data-align data-auto data-display data-done data-language data-open data-source dir href start"
).split(" ");
const MATH_TAGS = (
  "math annotation maction menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms "
  + "mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover semantics span"
).split(" ");
const MATH_ATTRIBUTES = (
  "accent accentunder class columnalign columnlines columnspacing depth display displaystyle encoding fence form frame height "
  + "linebreak linethickness lspace mathbackground mathcolor mathsize mathvariant maxsize minsize movablelimits notation "
  + "rowlines rowspacing rspace scriptlevel separator stretchy symmetric voffset width xmlns"
).split(" ");
const OWN_CLASS = /^(?:cmw-[\w-]+|hljs(?:-[\w-]+)?|[a-z]+_|katex)$/;
// The purifier begins with the body that it parses into: where that is not allowed, it copies all.
const BODY = "body";
const NEVER = { ALLOW_ARIA_ATTR: false, ALLOW_DATA_ATTR: false, KEEP_CONTENT: true } as const;
// The app's own attributes are no addresses that a browser follows.
const OWN = ["data-source", "data-language"];
const TEXT: Config = { ...NEVER, ALLOWED_TAGS: [BODY, ...TAGS], ALLOWED_ATTR: ATTRIBUTES, ADD_URI_SAFE_ATTR: OWN };
const CODE: Config = { ...NEVER, ALLOWED_TAGS: [BODY, "span"], ALLOWED_ATTR: ["class"] };
const MATH: Config = { ...NEVER, ALLOWED_TAGS: [BODY, ...MATH_TAGS], ALLOWED_ATTR: MATH_ATTRIBUTES };
const DIAGRAM: Config = {
  USE_PROFILES: { svg: true, svgFilters: true },
  ADD_TAGS: ["style"],
  FORBID_TAGS: ["a", "foreignObject", "image", "feImage", "use"],
  FORBID_ATTR: ["href", "xlink:href"],
};

/** What a piece of HTML is: the text's own, coloured code, or a formula. */
export type Piece = "text" | "code" | "math";
const CONFIGS: Readonly<Record<Piece, Config>> = { text: TEXT, code: CODE, math: MATH };

function makePurifier() {
  const purifier = createPurifier(window);
  purifier.addHook("uponSanitizeAttribute", (_node, data) => {
    if (data.attrName === "class") {
      const kept = data.attrValue.split(/\s+/).filter((name) => OWN_CLASS.test(name));
      data.keepAttr = kept.length > 0;
      data.attrValue = kept.join(" ");
    } else if (data.attrName === "href") data.keepAttr = isLink(data.attrValue);
  });
  return purifier;
}

const purifier = makePurifier();
const drawings = createPurifier(window);

/** Return HTML as a fragment that can run, load and send nothing. */
export function sanitize(html: string, piece: Piece): DocumentFragment {
  const fragment = purifier.sanitize(html, { ...CONFIGS[piece], RETURN_DOM_FRAGMENT: true });
  return document.adoptNode(fragment);
}

/** Return a drawing's SVG without script, links and foreign content. It is shown as a picture. */
export function sanitizeDrawing(svg: string): string {
  return drawings.sanitize(svg, DIAGRAM);
}
