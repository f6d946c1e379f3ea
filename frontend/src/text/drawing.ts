/** Draws formulas, coloured code and diagrams into a text, where their library is loaded. */
import { Cache } from "./cache";
import { writtenText } from "./controls";
import { libraries, type LibraryName } from "./libraries";
import { MAX_DIAGRAM_CHARS, MAX_DIAGRAMS, MAX_FORMULAS, MAX_HIGHLIGHTED_CHARS } from "./limits";
import { elementsOf } from "./elements";
import type { TextLabels } from "./options";

// A diagram may name a picture or a style of elsewhere, which mermaid fetches while it measures.
const FETCHING = /\burl\s*\(|@import|@\{[^}]*\b(?:img|icon)\b/i;
const SLICE_MS = 8; // of the main thread, in one frame

interface Picture {
  address: string;
  isDark: boolean; // drawn for the dark theme
}

/** Draws what one text needs libraries for. */
export class Drawing {
  private readonly formulas = new Cache<DocumentFragment>(500);
  private readonly code = new Cache<DocumentFragment>(50);
  private readonly diagrams = new Cache<Picture>(MAX_DIAGRAMS);
  private readonly diagramsBegun = new Set<string>(); // their sources
  /** For which libraries elements wait: each says so in `data-pending`. */
  private readonly waiting = new Set<LibraryName>();
  private frame = 0;
  private isGone = false;

  /**
   * @param host The element of the text.
   * @param labels Words of controls.
   */
  constructor(
    private readonly host: HTMLElement,
    private readonly labels: TextLabels,
  ) {}

  /** Mark what a new piece of the text needs drawn, and draw at once what one slice has time for. */
  prepare(root: DocumentFragment): void {
    const end = performance.now() + SLICE_MS;
    for (const element of [...root.querySelectorAll(".cmw-math")].slice(0, MAX_FORMULAS)) {
      this.begin(element as HTMLElement, "math", end);
    }
    for (const pre of root.querySelectorAll<HTMLElement>("pre.cmw-code[data-language]")) {
      if (pre.dataset["open"] !== undefined || !pre.dataset["language"]) continue;
      this.begin(pre, pre.dataset["language"] === "mermaid" ? "mermaid" : "code", end);
    }
  }

  /** Draw what is pending in the document, as soon as its library is there. */
  resume(): void {
    for (const name of this.waiting) {
      if (libraries.get(name) !== undefined) this.schedule();
      else void libraries.load(name).then((isThere) => isThere && this.schedule());
    }
  }

  destroy(): void {
    this.isGone = true;
    cancelAnimationFrame(this.frame);
  }

  private begin(element: HTMLElement, name: LibraryName, end: number): void {
    element.dataset["pending"] = name;
    if (name === "mermaid") this.showDiagram(element, this.diagrams.get(writtenText(element)));
    else if (libraries.get(name) !== undefined && performance.now() < end) this.draw(element, name);
    if (element.dataset["pending"] !== undefined) this.waiting.add(name);
  }

  private schedule(): void {
    if (this.isGone) return;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.slice());
  }

  private slice(): void {
    const end = performance.now() + SLICE_MS;
    for (const name of this.waiting) if (libraries.get(name) !== undefined) this.waiting.delete(name);
    for (const element of this.host.querySelectorAll<HTMLElement>("[data-pending]")) {
      const name = element.dataset["pending"] as LibraryName;
      if (libraries.get(name) === undefined) continue;
      if (performance.now() > end) {
        this.waiting.add(name);
        this.schedule();
        return;
      }
      if (name === "mermaid") void this.drawDiagram(element);
      else this.draw(element, name);
    }
  }

  private draw(element: HTMLElement, name: "math" | "code"): void {
    delete element.dataset["pending"];
    if (name === "math") this.drawFormula(element);
    else this.drawCode(element);
  }

  private drawFormula(element: HTMLElement): void {
    const tex = writtenText(element);
    const isDisplay = element.dataset["display"] !== undefined;
    const key = `${isDisplay ? "d" : "i"}${tex}`;
    let drawn = this.formulas.get(key);
    if (drawn === undefined) {
      const markup = libraries.get("math")?.(tex, isDisplay) ?? null;
      if (markup === null) {
        element.classList.add("cmw-math-source");
        return;
      }
      drawn = elementsOf(markup, "math");
      this.formulas.set(key, drawn);
    }
    element.replaceChildren(drawn.cloneNode(true));
  }

  private drawCode(pre: HTMLElement): void {
    const code = pre.querySelector("code");
    const language = (pre.dataset["language"] ?? "").toLowerCase();
    const source = code === null ? "" : writtenText(code);
    // What shows unseen characters is not drawn over.
    if (code === null || source.length > MAX_HIGHLIGHTED_CHARS || code.childElementCount > 0) return;
    const key = `${language}\n${source}`;
    let drawn = this.code.get(key);
    if (drawn === undefined) {
      const markup = libraries.get("code")?.(source, language) ?? null;
      if (markup === null) return;
      drawn = elementsOf(markup, "code");
      this.code.set(key, drawn);
    }
    code.replaceChildren(drawn.cloneNode(true));
  }

  private async drawDiagram(element: HTMLElement): Promise<void> {
    delete element.dataset["pending"];
    const source = writtenText(element);
    const isDark = element.closest(".dark") !== null;
    if (source.length > MAX_DIAGRAM_CHARS || FETCHING.test(source)) return;
    if (this.diagramsBegun.has(source) || this.diagramsBegun.size >= MAX_DIAGRAMS) return;
    this.diagramsBegun.add(source);
    const svg = (await libraries.get("mermaid")?.(source, isDark)) ?? null;
    if (svg === null || this.isGone) return;
    const address = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    const picture = { address, isDark };
    this.diagrams.set(source, picture);
    // The text may have been drawn anew meanwhile.
    for (const pre of this.host.querySelectorAll<HTMLElement>('pre.cmw-code[data-language="mermaid"]')) {
      if (writtenText(pre) === source) this.showDiagram(pre, picture);
    }
  }

  private showDiagram(pre: HTMLElement, picture: Picture | undefined): void {
    const box = pre.closest(".cmw-code-box");
    if (picture === undefined || box === null || box.querySelector(".cmw-diagram") !== null) return;
    delete pre.dataset["pending"];
    const image = document.createElement("img");
    image.className = "cmw-diagram";
    image.alt = this.labels.diagram;
    image.src = picture.address;
    if (picture.isDark) image.dataset["dark"] = "";
    const size = /viewBox%3D%22[-\d.]+%20[-\d.]+%20([\d.]+)%20([\d.]+)/.exec(picture.address);
    image.width = Math.ceil(Number(size?.[1] ?? 600));
    image.height = Math.ceil(Number(size?.[2] ?? 400));
    box.classList.add("cmw-drawn");
    box.append(image);
  }
}
