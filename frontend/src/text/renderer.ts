/** How the parser's tokens become HTML; everything of the text is escaped. */
import type { MarkdownIt, RendererRule, Token } from "markdown-it";
import { isLink } from "./links";

/** The name of a language behind a fence, or "" where there is none. */
export function languageOf(info: string): string {
  return /^\{?\.?([\w+#.-]{1,40})/.exec(info.trim())?.[1] ?? "";
}

function isInLink(tokens: Token[], index: number): boolean {
  const before = tokens.slice(0, index).map((token) => token.type);
  return before.lastIndexOf("link_open") > before.lastIndexOf("link_close");
}

function codeRule(md: MarkdownIt): RendererRule {
  return (tokens, index) => {
    const token = tokens[index]!;
    const language = token.type === "fence" ? languageOf(token.info) : "";
    const isClosed = token.type !== "fence" || token.meta?.["isOpen"] !== true;
    const { escapeHtml } = md.utils;
    const state = isClosed ? "" : ' data-open=""';
    return `<pre class="cmw-code" data-language="${escapeHtml(language)}"${state}><code>${escapeHtml(token.content)}</code></pre>\n`;
  };
}

function mathRule(md: MarkdownIt): RendererRule {
  return (tokens, index) => {
    const token = tokens[index]!;
    const isBlock = token.type === "math_block";
    const tag = isBlock ? "div" : "span";
    const display = isBlock || token.meta?.["isDisplay"] === true ? ' data-display=""' : "";
    return `<${tag} class="cmw-math"${display}>${md.utils.escapeHtml(token.content)}</${tag}>`;
  };
}

function imageRule(md: MarkdownIt): RendererRule {
  return (tokens, index, options, env, renderer) => {
    const token = tokens[index]!;
    const text = renderer.renderInlineAsText(token.children ?? [], options, env);
    const { escapeHtml } = md.utils;
    if (isInLink(tokens, index)) return escapeHtml(text);
    const source = escapeHtml(String(token.attrGet("src") ?? ""));
    return `<span class="cmw-image" data-source="${source}">${escapeHtml(text)}</span>`;
  };
}

const linkRule: RendererRule = (tokens, index) => {
  const href = String(tokens[index]?.attrGet("href") ?? "");
  const safe = isLink(href) ? ` href="${href.replaceAll("&", "&amp;").replaceAll('"', "&quot;")}"` : "";
  return `<a${safe}>`;
};

// A style sheet of the page aligns columns: no attribute `style` is let through.
const cellRule: RendererRule = (tokens, index, options, _env, renderer) => {
  const token = tokens[index]!;
  const style = String(token.attrGet("style") ?? "");
  if (token.attrs !== null) token.attrs = token.attrs.filter(([name]) => name !== "style");
  if (style.startsWith("text-align:")) token.attrSet("data-align", style.slice("text-align:".length));
  return renderer.renderToken(tokens, index, options);
};

/** Set a parser's rules of rendering. */
export function renderRules(md: MarkdownIt): void {
  const { rules } = md.renderer;
  rules["fence"] = rules["code_block"] = codeRule(md);
  rules["math"] = rules["math_block"] = mathRule(md);
  rules["image"] = imageRule(md);
  rules["link_open"] = linkRule;
  rules["th_open"] = rules["td_open"] = cellRule;
  const taskBox: RendererRule = (tokens, index) => {
    const isDone = tokens[index]?.meta?.["isDone"] === true;
    return `<span class="cmw-box"${isDone ? ' data-done=""' : ""}>${isDone ? "☑" : "☐"}</span>`;
  };
  rules["task_box"] = taskBox;
}
