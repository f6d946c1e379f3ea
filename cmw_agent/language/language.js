/* The page's language: texts of the catalogue, numbers and dates. What stands before this script has
 * put the language's own data there.
 */
(() => {
  "use strict";
  const { tag, direction, offered, pluralForm, texts } = window.cmwLanguage;
  let format = null; // made at the first number: it takes a phone a tenth of a second, before anything is drawn
  const number = (value) => (format ??= new Intl.NumberFormat(tag)).format(value);
  const fill = (text, values) => text.replace(/\{([a-z_]+)\}/g,
    (whole, name) => (Object.hasOwn(values, name) ? values[name] : whole));
  window.cmwLanguage = {
    tag, direction,
    offered, // all languages: [tag, name] of each
    // The text of an English one; `values` stand for its placeholders, as in "{name} was deleted."
    t: (text, values = {}) => fill(texts[text] ?? text, values),
    // The text for a number, which is `{count}` in it.
    tn: (singular, several, count, values = {}) => fill(
      texts[singular]?.[pluralForm(count)] ?? (count === 1 ? singular : several),
      { count: number(count), ...values }),
    number,
    date: (value, options = { dateStyle: "medium" }) => new Intl.DateTimeFormat(tag, options).format(value),
  };
})();
