/** Draws answers on pages beside the app's own: in a website's widget, and of a shared chat. */
import STYLE from "./text/text.css";

export { TextView, drawPlain } from "./text/index";

/** Return the style sheet of drawn texts. A policy that forbids inline styles says nothing of it. */
export function styleSheet(): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  return sheet;
}
