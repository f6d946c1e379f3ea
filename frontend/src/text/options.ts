/** Which text is drawn: an answer, the model's thoughts, or a message of a shared chat. */
export type TextKind = "answer" | "thoughts" | "share";

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

export const ENGLISH: Readonly<TextLabels> = Object.freeze({
  copy: "Copy",
  copied: "Copied",
  wrap: "Wrap lines",
  code: "Code",
  table: "Table",
  diagram: "Diagram",
  formula: "Formula",
  done: "done",
  toDo: "to do",
  tooLong: "This text is too long to be formatted; it is shown as it was written.",
  tooManyCells: "This table is too large to be drawn; it is shown as it was written.",
  tooDeep: "This part is nested too deeply to be formatted; it is shown as it was written.",
});

/** How a text is drawn. */
export interface TextOptions {
  kind: TextKind;
  /**
   * Gives the address at which a file of the owner (`files/<32 hex>`) is to be had. A picture in
   * the text is drawn from it, a link leads to it. Null, or no function: a picture is a link.
   */
  fileUrl?(href: string): string | null;
  /** Words in the reader's language; English where they are left out. */
  labels?: Partial<TextLabels>;
}

export function labelsOf(options: TextOptions): TextLabels {
  return { ...ENGLISH, ...options.labels };
}
