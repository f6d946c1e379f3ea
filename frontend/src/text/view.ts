/** Draws an answer's Markdown while it grows: what is final is drawn once and never touched again. */
import type { Env } from "markdown-it";
import { blocksOf, finalCount, lineStarts, refusalOf, type Block } from "./blocks";
import { CodeControls } from "./code_controls";
import { showControls } from "./controls";
import { decorate } from "./decorate";
import { setDirections } from "./direction_rule";
import { Drawing } from "./drawing";
import { elementsOf } from "./elements";
import { MAX_FORMATTED_CHARS, SLICE_CHARS } from "./limits";
import { morph } from "./morph";
import { labelsOf, type TextLabels, type TextOptions } from "./options";
import { parser } from "./parser";
import { plainParts } from "./plain";
import { withoutMarkerLine } from "./unfinished";

const REST = 4; // milliseconds without drawing for each millisecond of drawing
const MAX_REST_MS = 2_000;
const QUICK_MS = 4; // a drawing that took no longer needs no rest

/** Draws Markdown into an element, again and again as it grows. */
export class TextView {
  private readonly labels: TextLabels;
  private readonly controls: CodeControls;
  private readonly drawing: Drawing;
  private html: string[] = []; // of each block that stands in the host
  private final = { text: "", count: 0 };
  private latest = { markdown: "", isEnded: false };
  private reached = 0; // the characters of the latest text that are drawn
  private timer = 0;
  private restUntil = 0;

  /**
   * @param host An empty element that this view fills and owns.
   * @param options How the text is drawn.
   */
  constructor(
    private readonly host: HTMLElement,
    private readonly options: TextOptions,
  ) {
    this.labels = labelsOf(options);
    this.controls = new CodeControls(host, this.labels);
    this.drawing = new Drawing(host, this.labels);
    host.classList.add("cmw-text");
    host.dataset["kind"] = options.kind;
  }

  /**
   * Draw the text so far. A costly one is drawn less often while it grows, a long one in slices:
   * until the last of them the element has `data-drawing`.
   *
   * @param markdown The whole text so far.
   * @param isEnded Whether nothing more comes.
   */
  update(markdown: string, isEnded: boolean): void {
    this.latest = { markdown, isEnded };
    const wait = this.restUntil - performance.now();
    if (isEnded || wait <= 0) this.draw();
    else if (this.timer === 0) this.timer = window.setTimeout(() => this.draw(), wait);
  }

  /** Empty the element and end all that this view has started. */
  destroy(): void {
    clearTimeout(this.timer);
    this.controls.destroy();
    this.drawing.destroy();
    this.host.replaceChildren();
  }

  private draw(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    const began = performance.now();
    const text = this.latest.markdown.replace(/\r\n?/g, "\n").replaceAll("\0", "\ufffd");
    if (text.length > MAX_FORMATTED_CHARS) this.drawLong(text);
    else this.drawSlice(text);
    const took = performance.now() - began;
    this.restUntil = took > QUICK_MS ? began + took + Math.min(took * REST, MAX_REST_MS) : 0;
    const isWhole = this.reached >= text.length;
    this.host.toggleAttribute("data-drawing", !isWhole);
    // The page may draw and answer in between.
    if (!isWhole) this.timer = window.setTimeout(() => this.draw());
  }

  // As a text that grows: what is above the last blank line of a slice is final. Where nothing
  // becomes final, as in one long block of code, each slice is twice as long as the one before.
  private drawSlice(text: string): void {
    if (!text.startsWith(this.final.text)) this.forget();
    const from = this.final.text.length;
    const wanted = Math.max(from + SLICE_CHARS, this.reached + Math.max(SLICE_CHARS, this.reached - from));
    const newline = wanted < text.length ? text.indexOf("\n", wanted) : -1;
    this.reached = newline < 0 ? text.length : newline + 1;
    this.drawText(text.slice(0, this.reached), this.latest.isEnded && this.reached === text.length);
  }

  private drawLong(text: string): void {
    const parts = plainParts(text);
    parts.prepend(this.note(this.labels.tooLong));
    this.host.replaceChildren(parts);
    this.html = [];
    this.forget();
    this.reached = text.length;
  }

  private forget(): void {
    this.final = { text: "", count: 0 };
    this.reached = 0;
  }

  private drawText(text: string, isEnded: boolean): void {
    if (this.html.length === 0) this.host.replaceChildren();
    let tail = this.parse(text, isEnded);
    if (tail.hasDefinitions && this.final.count > 0) {
      // A definition may turn brackets anywhere into a link: then all is read at each update.
      this.final = { text: "", count: 0 };
      tail = this.parse(text, isEnded);
    }
    this.show(tail.blocks.map((block) => this.htmlOf(block, tail.source, tail.env)));
    if (!isEnded && !tail.hasDefinitions) this.settle(tail.source, tail.blocks);
    this.drawing.resume();
  }

  private parse(text: string, isEnded: boolean) {
    const rest = text.slice(this.final.text.length);
    const source = isEnded ? rest : withoutMarkerLine(rest);
    const env: Env = { references: {}, isUnfinished: !isEnded };
    const blocks = blocksOf(parser.parse(source, env));
    return { source, env, blocks, hasDefinitions: Object.keys(env.references ?? {}).length > 0 };
  }

  private settle(source: string, blocks: readonly Block[]): void {
    const starts = lineStarts(source);
    const count = finalCount(source, starts, blocks);
    if (count === 0) return;
    const text = source.slice(0, starts[blocks[count]!.start]);
    this.final = { text: this.final.text + text, count: this.final.count + count };
  }

  private htmlOf(block: Block, source: string, env: Env): string {
    const refusal = refusalOf(block);
    const { renderer, options, utils } = parser;
    if (refusal === null) return renderer.render(block.tokens, options, env);
    const lines = source.split("\n").slice(block.start, block.end).join("\n");
    return `<div class="cmw-refused"><p class="cmw-note">${utils.escapeHtml(this.labels[refusal])}</p>`
      + `<div class="cmw-plain">${utils.escapeHtml(lines)}</div></div>`;
  }

  // Of the blocks below the final ones, those whose HTML is another are drawn.
  private show(fresh: readonly string[]): void {
    const first = this.final.count;
    const changed = fresh.flatMap((html, index) => (html === this.html[first + index] ? [] : [index]));
    const pieces = this.pieces(changed.map((index) => fresh[index] ?? ""));
    for (const [at, index] of changed.entries()) this.place(first + index, pieces[at]!);
    this.html.length = first;
    this.html.push(...fresh);
    while (this.host.childNodes.length > this.html.length) this.host.lastChild?.remove();
  }

  private place(index: number, piece: Element): void {
    const live = this.host.childNodes[index];
    if (live === undefined) this.host.append(piece);
    else if (live.nodeName === piece.nodeName && live instanceof Element && live.className === piece.className) {
      morph(live, piece);
    } else live.replaceWith(piece);
  }

  // Each block is one element.
  private pieces(html: readonly string[]): Element[] {
    if (html.length === 0) return [];
    const root = elementsOf(html.join(""), "text");
    decorate(root, this.options, this.labels);
    showControls(root);
    this.drawing.prepare(root);
    setDirections(root);
    return [...root.children];
  }

  private note(sentence: string): HTMLElement {
    const made = document.createElement("p");
    made.className = "cmw-note";
    made.textContent = sentence;
    return made;
  }
}
