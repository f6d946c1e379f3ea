type Child = Node | string;

/** A new element; `attributes` that are functions are listeners of the event of that name. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | boolean | ((event: Event) => void)> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  copy: "M9 9h10v11H9z M5 15V4h10",
  edit: "M4 20l1-4L16 5l3 3L8 19z",
  retry: "M19 12a7 7 0 1 1-2-5 M19 3v5h-5",
  fork: "M7 4v16 M7 14c8 0 10-3 10-9 M14 8l3-3 3 3",
  like: "M4 11h3v9H4z M7 11l4-8c3 0 3 3 2 6h6c1 0 2 1 1 3l-2 6c0 1-1 2-2 2H7",
  dislike: "M4 4h3v9H4z M7 13l4 8c3 0 3-3 2-6h6c1 0 2-1 1-3l-2-6c0-1-1-2-2-2H7",
  speak: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z M15.5 9a4 4 0 0 1 0 6 M18 6.5a8 8 0 0 1 0 11",
  silence: "M7 7h10v10H7z",
  done: "M5 13l5 5L19 7",
  file: "M6 3h8l5 5v13H6z M14 3v5h5",
  tool: "M14 6a4 4 0 0 0-5 5l-6 6 3 3 6-6a4 4 0 0 0 5-5l-3 3-3-3z",
  thoughts: "M9 18h6 M10 21h4 M8 14a6 6 0 1 1 8 0c-1 1-1 2-1 3H9c0-1 0-2-1-3z",
  approval: "M12 8v5 M12 16v.5 M12 3l9 17H3z",
  details: "M12 11v6 M12 7v.5 M12 3a9 9 0 1 0 .1 0z",
  failed: "M12 8v5 M12 16v.5 M12 3a9 9 0 1 0 .1 0z",
} as const;

export type Icon = keyof typeof ICONS;

export function icon(name: Icon): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "cmw-svg");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and is known by a name. */
export function iconButton(shown: Icon, name: string, press: () => void): HTMLButtonElement {
  const attributes = { type: "button", class: "cmw-icon", "aria-label": name, title: name, click: press };
  return make("button", attributes, icon(shown));
}

/** Press one of Gradio's buttons, which are there for the events that they begin. */
export function pressHidden(id: string): void {
  document.getElementById(id)?.click();
}
