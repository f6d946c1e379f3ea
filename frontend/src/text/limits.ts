/** Bounds of what one text may cost. Beyond them a text or a part of it is shown as written. */
export const MAX_FORMATTED_CHARS = 300_000; // of a text
export const MAX_INLINE_CHARS = 50_000; // of one paragraph, heading or cell
export const MAX_CELLS = 5_000; // of one table
export const MAX_NESTING = 60; // of the parser's levels: a list has two
export const MAX_HIGHLIGHTED_CHARS = 50_000; // of one block of code
export const MAX_FORMULA_CHARS = 4_000;
export const MAX_FORMULAS = 500; // of one block
export const MAX_DIAGRAM_CHARS = 20_000;
export const MAX_DIAGRAMS = 20; // of one text
export const PLAIN_PART_CHARS = 8_000; // of one paragraph of a long plain text
export const SLICE_CHARS = 10_000; // of a long text, that are drawn before the page may answer
