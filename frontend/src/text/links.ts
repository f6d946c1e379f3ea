/** Which addresses a text may lead to, and how a link is written. */
export const FILE = /^files\/[0-9a-f]{32}$/;
export const RASTER = /^data:image\/(?:png|jpeg|gif|webp|avif|bmp);base64,[A-Za-z0-9+/=]+$/;
const SHOWN_FILE = /^(?:blob:|data:image\/(?:png|jpeg|gif|webp|avif|bmp);base64,|files\/|share\/|\/(?!\/))/;
const LINK =
  /^(?:https?:\/\/|mailto:|\/(?![/\\])|\?|#|files\/[0-9a-f]{32}$|connections\/connect\?ticket=[\w-]{43}$)/i;

/** Whether a link to an address is drawn as one. */
export function isLink(address: string): boolean {
  return LINK.test(address);
}

// Whoever follows one connects an account of theirs to whom it was made for.
const CONNECTING = /^https?:\/\/(?:[^/?#]*@)?connect\.composio\.dev\.?(?:[:/?#]|$)/i;

/** Whether a link leads from a page that is not the reader's own to a web or mail address. */
export function isWebLink(address: string): boolean {
  return /^(?:https?:\/\/|mailto:)/i.test(address) && !CONNECTING.test(address.replaceAll("\\", "/"));
}

/** Whether an address may stand in Markdown as a link's or a picture's. */
export function isAddress(address: string): boolean {
  return isLink(address) || RASTER.test(address);
}

/** Whether a picture may be drawn from an address that the page gives for a file. */
export function isShownFile(address: string): boolean {
  return SHOWN_FILE.test(address);
}

/** Let a link lead somewhere: it opens a new tab and names no referrer. */
export function lead(link: HTMLAnchorElement, href: string, rel: string): HTMLAnchorElement {
  link.setAttribute("href", href);
  link.target = "_blank";
  link.rel = rel;
  return link;
}

/** Make a link of an address and its text. */
export function makeLink(href: string, text: string, rel: string): HTMLAnchorElement {
  const made = lead(document.createElement("a"), href, rel);
  made.textContent = text;
  return made;
}

export const REL = "noopener noreferrer";
export const SHARED_REL = "noopener noreferrer nofollow ugc";
