import { start } from "./pane/page";

export { patched } from "./pane/tap";
export { TextView, drawPlain } from "./text/index";
export type { TextOptions } from "./text/index";

// Other pages draw texts alone.
if ("cmw" in window) start();
