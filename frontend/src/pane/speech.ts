/** Reads answers aloud with the browser's own voices. */
const MAX_CHARS = 220; // of one utterance: some browsers fall silent in longer ones

/** The scripts that tell a text's language where the page's own does not. */
const SCRIPTS: readonly (readonly [RegExp, string])[] = [
  [/[\p{Script=Hiragana}\p{Script=Katakana}]/gu, "ja"], [/\p{Script=Hangul}/gu, "ko"], [/\p{Script=Han}/gu, "zh"],
  [/\p{Script=Cyrillic}/gu, "ru"], [/\p{Script=Arabic}/gu, "ar"], [/\p{Script=Hebrew}/gu, "he"],
  [/\p{Script=Greek}/gu, "el"], [/\p{Script=Devanagari}/gu, "hi"], [/\p{Script=Thai}/gu, "th"],
];

/** The language that a text is read in: by its script, else that of the element that shows it. */
export function languageOf(text: string, shown: string): string {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  const found = SCRIPTS.find(([script]) => (text.match(script)?.length ?? 0) > letters / 3);
  const [, language = ""] = found ?? [];
  // "uk" and "bg" are written in Cyrillic, too: what the page says of such a text is believed.
  return language && !(language === "ru" && /^(?:uk|bg|sr|be|mk|kk)\b/.test(shown)) ? language : shown;
}

/** A text in pieces that end between sentences or words. */
export function pieces(text: string): string[] {
  const found: string[] = [];
  for (const line of text.split(/\n+/)) {
    let rest = line.trim();
    while (rest.length > MAX_CHARS) {
      const part = rest.slice(0, MAX_CHARS);
      const at = Math.max(part.search(/[.!?。！？;:,，]\s?[^.!?。！？;:,，]*$/u) + 1, part.lastIndexOf(" "));
      const cut = at > MAX_CHARS / 3 ? at : MAX_CHARS;
      found.push(rest.slice(0, cut).trim());
      rest = rest.slice(cut).trim();
    }
    if (rest) found.push(rest);
  }
  return found;
}

export class Speech {
  private key: string | null = null; // of the message that is read
  private count = 0; // how often something was read

  /** @param changed Called when the browser's voices have come, and when a reading begins or ends. */
  constructor(private readonly changed: () => void) {
    if (!("speechSynthesis" in window)) return;
    speechSynthesis.addEventListener("voiceschanged", changed);
    window.addEventListener("pagehide", () => this.stop()); // it would go on reading
  }

  get isOffered(): boolean {
    return "speechSynthesis" in window && speechSynthesis.getVoices().length > 0;
  }

  isReading(key: string): boolean {
    return this.key === key;
  }

  /** Read a message aloud. */
  read(key: string, text: string, language: string): void {
    this.stop();
    this.key = key;
    const mine = ++this.count;
    const end = () => { if (this.count === mine) this.stop(); };
    const utterances = pieces(text).map((piece) => new SpeechSynthesisUtterance(piece));
    for (const utterance of utterances) {
      utterance.lang = language;
      utterance.addEventListener("error", end);
      speechSynthesis.speak(utterance);
    }
    const last = utterances.at(-1);
    if (last) last.addEventListener("end", end);
    else this.key = null;
    this.changed();
  }

  stop(): void {
    if (this.key === null) return;
    this.key = null;
    speechSynthesis.cancel();
    this.changed();
  }
}
