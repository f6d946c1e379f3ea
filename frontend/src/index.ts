import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";
import cjk from "markdown-it-cjk-friendly";

export { TextView, drawPlain } from "./text/index";
export type { TextOptions } from "./text/index";
export const libraries = { DOMPurify, parser: new MarkdownIt().use(cjk) };
