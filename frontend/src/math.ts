/** KaTeX, on demand. */
import katex from "katex";
import "katex/contrib/mhchem"; // \ce{H2O}

/** Draws TeX as MathML; null where it is no formula. */
export type Formulas = (tex: string, isDisplay: boolean) => string | null;

export const library: Formulas = (tex, displayMode) => {
  try {
    return katex.renderToString(tex, {
      displayMode,
      output: "mathml",
      throwOnError: true,
      strict: "ignore",
      trust: false,
      maxSize: 20, // em
      maxExpand: 300, // macros
    });
  } catch {
    return null;
  }
};
