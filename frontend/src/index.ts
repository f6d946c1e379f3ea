export { TextView, drawPlain } from "./text/index";
export type { TextOptions } from "./text/index";
