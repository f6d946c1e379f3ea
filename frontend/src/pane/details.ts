/** What an answer took: its model, time, tokens, cost and tools, in a popover at its button. */
import { dated, lasting, numeral, t, tn } from "../language";
import { make } from "./dom";
import { reasonText } from "./rating";
import type { Rating } from "./types";

const MARGIN = 8; // pixels to the edges of the window

/** What the server says; see `cmw_agent/web/api/answers.py`. */
interface Details {
  readonly model: string | null;
  readonly created_at: string;
  readonly seconds: number | null;
  readonly thinking_seconds: number;
  readonly input_tokens: number | null;
  readonly cached_tokens: number;
  readonly output_tokens: number | null;
  readonly reasoning_tokens: number;
  readonly tokens: number | null;
  readonly is_estimated: boolean;
  readonly cost: string | null;
  readonly tools: readonly Call[];
  readonly seen: Seen | null;
  readonly rating: Rating | null;
  readonly reason: string | null;
  readonly comment: string | null;
}

/** A call of a tool, and the account that it used, by its id in receipts. */
interface Call {
  readonly name: string;
  readonly account: { readonly id: string; readonly label: string } | null;
  readonly ok: boolean;
  readonly seconds: number;
}

/** What the model was given; see `cmw_agent/chat/context_receipt.py`. */
interface Seen {
  readonly messages: readonly number[];
  readonly summary_through: number | null;
  readonly files: readonly string[];
  readonly tools_offered: number;
}

type Line = [name: string, value: string];

function tokens(details: Details): Line[] {
  const count = (number: number) => (details.is_estimated ? t("about {number}", { number: numeral(number) }) : numeral(number));
  const cached = details.cached_tokens ? ` (${t("{number} cached", { number: numeral(details.cached_tokens) })})` : "";
  const thoughts = details.reasoning_tokens ? ` (${t("{number} of thoughts", { number: numeral(details.reasoning_tokens) })})` : "";
  if (details.input_tokens === null || details.output_tokens === null) {
    return details.tokens === null ? [] : [[t("Tokens"), count(details.tokens)]];
  }
  return [
    [t("Tokens read"), count(details.input_tokens) + cached],
    [t("Tokens written"), count(details.output_tokens) + thoughts],
  ];
}

function seenLines(seen: Seen): Line[] {
  const parts = [tn("{count} message", "{count} messages", seen.messages.length)];
  if (seen.summary_through !== null) parts.push(t("a summary of what came before"));
  if (seen.files.length) parts.push(tn("{count} file", "{count} files", seen.files.length));
  if (seen.tools_offered) parts.push(tn("{count} tool", "{count} tools", seen.tools_offered));
  return [[t("Given to the model"), parts.join(", ")]];
}

function linesOf(details: Details): Line[] {
  const { model, created_at: created, seconds, thinking_seconds: thinking, cost, tools } = details;
  const shown: Line[] = [];
  const failed = t("failed");
  if (model) shown.push([t("Model"), model]);
  shown.push([t("Written"), dated(new Date(created), { dateStyle: "medium", timeStyle: "short" })]);
  const thought = thinking ? `, ${t("{time} of them thinking", { time: lasting(thinking) })}` : "";
  if (seconds !== null) shown.push([t("Took"), lasting(seconds) + thought]);
  shown.push(...tokens(details));
  if (cost) shown.push([t("Cost"), cost]);
  for (const [index, { name, account, ok, seconds: each }] of tools.entries()) {
    const used = account ? ` · ${account.label} (${account.id})` : "";
    shown.push([index ? "" : t("Tools"), `${name}${used} · ${lasting(each)}${ok ? "" : ` · ${failed}`}`]);
  }
  if (details.seen) shown.push(...seenLines(details.seen));
  const { rating, reason, comment } = details;
  if (rating) shown.push([t("Your rating"), [rating === "like" ? t("Like") : t("Dislike"), ...(reason ? [reasonText(reason)] : [])].join(" · ")]);
  if (comment) shown.push([t("Your comment"), comment]);
  return shown;
}

/** A button that saves what models were given for all answers of a conversation. */
function saving(id: string): HTMLElement {
  const save = () => { window.cmw.download(`history/export?id=${encodeURIComponent(id)}&format=receipts`); };
  return make("button", { type: "button", class: "cmw-receipts", click: save }, t("Save the receipts of this chat"));
}

function place(shown: HTMLElement, button: HTMLElement): void {
  const at = button.getBoundingClientRect();
  const above = at.top - shown.offsetHeight - MARGIN;
  shown.style.top = `${above >= MARGIN ? above : Math.min(at.bottom + MARGIN, innerHeight - shown.offsetHeight - MARGIN)}px`;
  shown.style.left = `${Math.max(MARGIN, Math.min(at.left, innerWidth - shown.offsetWidth - MARGIN))}px`;
}

/**
 * Fetch and show the details of an answer of the conversation that the page shows.
 *
 * @param seq The answer's sequence number.
 * @param button What was pressed; it gets the focus back.
 */
export async function showDetails(seq: number, button: HTMLElement): Promise<void> {
  const id = window.cmw.conversation() ?? "";
  const details = await window.cmw.ask<Details>(`history/answer?id=${encodeURIComponent(id)}&seq=${seq}`);
  if (!button.isConnected) return;
  const list = make("dl", {}, ...linesOf(details).flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, make("bdi", {}, value))]));
  const shown = make("div", { class: "cmw-details", role: "dialog", "aria-label": t("Details of the answer"), tabindex: "-1", popover: "auto" }, list,
    ...(details.seen ? [saving(id)] : []));
  const close = ({ target }: Event) => { if (target !== shown) shown.hidePopover(); };
  shown.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState !== "closed") return;
    removeEventListener("resize", close);
    removeEventListener("scroll", close, true);
    shown.remove();
  });
  document.body.append(shown);
  shown.showPopover();
  place(shown, button);
  shown.focus({ preventScroll: true });
  addEventListener("resize", close);
  addEventListener("scroll", close, true);
}
