import { t } from "../language";

/** Which text is drawn: an answer, the model's thoughts, or an answer on a page that is not the
 * reader's own: of a shared chat, or in a website's widget. There no link leads into the page's site. */
export type TextKind = "answer" | "thoughts" | "share" | "widget";

/** Words of the drawn text's own controls and notes. */
export interface TextLabels {
  copy: string;
  copied: string;
  wrap: string;
  code: string;
  table: string;
  diagram: string;
  formula: string;
  done: string;
  toDo: string;
  tooLong: string;
  tooManyCells: string;
  tooDeep: string;
}

function ownLabels(): TextLabels {
  return {
    copy: t("Copy"),
    copied: t("Copied"),
    wrap: t("Wrap lines"),
    code: t("Code"),
    table: t("Table"),
    diagram: t("Diagram"),
    formula: t("Formula"),
    done: t("done"),
    toDo: t("to do"),
    tooLong: t("This text is too long to be formatted; it is shown as it was written."),
    tooManyCells: t("This table is too large to be drawn; it is shown as it was written."),
    tooDeep: t("This part is nested too deeply to be formatted; it is shown as it was written."),
  };
}

/** How a text is drawn. */
export interface TextOptions {
  kind: TextKind;
  /**
   * Gives the address at which a file of the owner (`files/<32 hex>`) is to be had. A picture in
   * the text is drawn from it, a link leads to it. Null, or no function: a picture is a link.
   */
  fileUrl?(href: string): string | null;
  /** Words in the place of the page's own. */
  labels?: Partial<TextLabels>;
}

export function labelsOf(options: TextOptions): TextLabels {
  return { ...ownLabels(), ...options.labels };
}

export function isForeign({ kind }: TextOptions): boolean {
  return kind === "share" || kind === "widget";
}
