/** mermaid, on demand. */
import createPurifier from "dompurify";
import mermaid from "mermaid";

/** Draws a diagram as SVG without script, links and foreign content; null where its source is none. */
export type Diagrams = (source: string, isDark: boolean) => Promise<string | null>;

// What a diagram's own directives may not change.
const FIXED = [
  "secure", "securityLevel", "startOnLoad", "maxTextSize", "maxEdges", "suppressErrorRendering", "htmlLabels",
  "flowchart", "themeCSS", "themeVariables", "fontFamily", "altFontFamily", "dompurifyConfig",
];
// It is shown as a picture, where nothing runs and nothing is fetched.
const DRAWING = {
  USE_PROFILES: { svg: true, svgFilters: true },
  ADD_TAGS: ["style"],
  FORBID_TAGS: ["a", "foreignObject", "image", "feImage", "use"],
  FORBID_ATTR: ["href", "xlink:href"],
};
const purifier = createPurifier(window);
const ID = "cmw-diagram"; // each drawing becomes a picture: ids of two never meet
const queue = { last: Promise.resolve<string | null>(null) };

async function draw(source: string, isDark: boolean): Promise<string | null> {
  await new Promise((resolve) => setTimeout(resolve)); // the page may draw and answer in between
  mermaid.initialize({
    startOnLoad: false,
    securityLevel: "strict",
    theme: isDark ? "dark" : "default",
    secure: FIXED,
    suppressErrorRendering: true,
    maxTextSize: 20_000,
    maxEdges: 300,
    htmlLabels: false,
    flowchart: { htmlLabels: false },
    fontFamily: "system-ui, sans-serif",
  });
  try {
    return purifier.sanitize((await mermaid.render(ID, source)).svg, DRAWING);
  } catch {
    return null;
  } finally {
    // what mermaid measures in, where drawing failed
    document.getElementById(`d${ID}`)?.remove();
  }
}

// mermaid keeps one configuration: diagrams are drawn one after another.
export const library: Diagrams = (source, isDark) => {
  queue.last = queue.last.then(() => draw(source, isDark));
  return queue.last;
};
