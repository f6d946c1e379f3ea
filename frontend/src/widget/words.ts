/** What the widget says, in the languages of the catalogues; `make catalogue` writes them to texts.json. */
import translations from "./texts.json";

type Texts = Readonly<Record<string, string>>;

/** Marks a text for the catalogues. */
const t = (text: string): string => text;

const ENGLISH = {
  open: t("Open the chat"), close: t("Close the chat"), fresh: t("New conversation"), send: t("Send"),
  stop: t("Stop"), box: t("Your message"), hint: t("Write a message…"), log: t("Conversation"),
  thinking: t("The answer is being written"), you: t("You"), hello: t("How can I help?"),
  stopped: t("Stopped."), cut: t("The answer was cut short."), none: t("No answer came."),
  retry: t("Try again"), again: t("The connection was lost; trying again…"),
  lost: t("The chat cannot be reached right now."), failed: t("Something went wrong; please try again."),
  approve: t("Approve"), deny: t("Deny"), wants: t("wants to run:"),
  asks: t("The agent asks you"), answer: t("Send the answer"), skip: t("Do not answer"), approved: t("approved"), denied: t("denied"),
  expired: t("not answered in time"), connect: t("Connect your account"), begun: t("A new conversation has begun."),
  latest: t("↓ New text"), copy: t("Copy"), copied: t("Copied"), wrap: t("Wrap lines"), code: t("Code"), table: t("Table"),
  diagram: t("Diagram"), formula: t("Formula"), done: t("done"), toDo: t("to do"),
  tooLong: t("This text is too long to be formatted; it is shown as it was written."),
  tooManyCells: t("This table is too large to be drawn; it is shown as it was written."),
  tooDeep: t("This part is nested too deeply to be formatted; it is shown as it was written."),
};

export type Words = Readonly<typeof ENGLISH>;

/** The words of one language. */
export interface Language {
  readonly tag: string;
  readonly words: Words;
}

function translated(texts: Texts): Words {
  const words = Object.entries(ENGLISH).map(([name, text]) => [name, texts[text] ?? text]);
  return Object.fromEntries(words) as Words;
}

/** Return the language of a tag such as `ru-RU`; English where there is no catalogue of it. */
export function languageOf(tag: string): Language {
  const wanted = tag.toLowerCase();
  const known = Object.entries<Texts>(translations);
  const found = known.find(([name]) => name.toLowerCase() === wanted)
    ?? known.find(([name]) => name.toLowerCase() === wanted.split("-")[0]);
  return found ? { tag: found[0], words: translated(found[1]) } : { tag: "en", words: ENGLISH };
}
