/** Puts the widget into a website's page, where the page's own styles do not reach it. */
import STYLE from "./widget.css";

export const TAG = "cmw-agent";
const GAP = 76; // pixels between the buttons of several chats

/** Black or white, whichever can be read on the site's colour. */
function setAccent(root: HTMLElement, color: string | undefined): void {
  if (!color || !CSS.supports("color", color)) return;
  root.style.setProperty("--accent", color);
  root.style.color = color;
  const shares = getComputedStyle(root).color.match(/[\d.]+/g)?.map((share) => Number(share) / 255) ?? [];
  root.style.color = "";
  const [red = 0, green = 0, blue = 0] = shares.map((share) => (share <= .04045 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4));
  const luminance = .2126 * red + .7152 * green + .0722 * blue;
  root.style.setProperty("--on-accent", luminance > .18 ? "#000" : "#fff");
}

function followTheme(root: HTMLElement): void {
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => root.classList.toggle("dark", isDark.matches);
  isDark.addEventListener("change", set);
  set();
}

/**
 * Draw `root` beside the page's body.
 *
 * @param key Names the chat: the same line twice is one chat.
 * @param look What the line says of the looks.
 * @param others The chats that are there.
 */
export function mount(root: HTMLElement, key: string, look: DOMStringMap, others: readonly HTMLElement[]): void {
  const side = look["position"] === "left" ? "left" : "right";
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.classList.add(side);
  const host = document.createElement(TAG);
  host.dataset["key"] = key;
  host.dataset["side"] = side;
  const shadow = host.attachShadow({ mode: "closed", delegatesFocus: false });
  shadow.adoptedStyleSheets = [sheet];
  shadow.append(root);
  // Not in the body: what styles, moves or replaces that leaves the chat alone.
  document.documentElement.append(host);
  // In the top layer, where the page's own effects and layers do not reach.
  host.popover = "manual";
  host.showPopover?.();
  const below = others.filter(({ dataset }) => dataset["side"] === side).length;
  root.style.setProperty("--up", `${below * GAP}px`);
  setAccent(root, look["color"]);
  followTheme(root);
}
