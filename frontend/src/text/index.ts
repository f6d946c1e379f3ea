export type { TextKind, TextLabels, TextOptions } from "./options";
export { drawPlain } from "./plain";
export { TextView } from "./view";
