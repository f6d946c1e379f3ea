/** Texts, numbers and dates in the page's language, which a script before this one has brought; English without it. */
export type Values = Readonly<Record<string, string | number>>;

interface PageLanguage {
  readonly tag: string;
  t(text: string, values?: Values): string;
  tn(singular: string, several: string, count: number, values?: Values): string;
  number(value: number): string;
  date(value: Date, options?: Intl.DateTimeFormatOptions): string;
}

declare global {
  interface Window {
    cmwLanguage?: PageLanguage;
  }
}

function fill(text: string, values: Values): string {
  return text.replace(/\{([a-z_]+)\}/g, (whole, name: string) => String(Object.hasOwn(values, name) ? values[name] : whole));
}

const ENGLISH: PageLanguage = {
  tag: "en",
  t: (text, values = {}) => fill(text, values),
  tn: (singular, several, count, values = {}) => fill(count === 1 ? singular : several, { count, ...values }),
  number: String,
  date: (value, options) => new Intl.DateTimeFormat("en", options).format(value),
};

const language = (): PageLanguage => window.cmwLanguage ?? ENGLISH;

/** The text of an English one of the catalogue; `values` stand for its `{placeholders}`. */
export function t(text: string, values?: Values): string {
  return language().t(text, values);
}

/** The text for a number, which is `{count}` in it. */
export function tn(singular: string, several: string, count: number, values?: Values): string {
  return language().tn(singular, several, count, values);
}

/** A number as the language writes it. */
export function numeral(value: number): string {
  return language().number(value);
}

/** A day, or what the options ask for, as the language writes it. */
export function dated(value: Date, options: Intl.DateTimeFormatOptions): string {
  return language().date(value, options);
}

/** A duration, in milliseconds below a second. */
export function lasting(seconds: number): string {
  if (seconds < 1) return t("{milliseconds} ms", { milliseconds: numeral(Math.ceil(seconds * 1_000)) });
  return t("{seconds} s", { seconds: numeral(seconds < 10 ? Number(seconds.toPrecision(2)) : Math.round(seconds)) });
}
