/** Loads KaTeX, highlight.js and mermaid when a text first needs them. */
import type { Code } from "../code";
import type { Diagrams } from "../mermaid";
import type { Formulas } from "../math";

/** What each file on demand exports as `library`. */
export interface Loaded {
  math: Formulas;
  code: Code;
  mermaid: Diagrams;
}
export type LibraryName = keyof Loaded;

declare const BUILT_VERSIONS: Readonly<Record<LibraryName, string>>;
declare const BUILT_URL: string; // of the script that this is part of

const TRIES = 3;

/** The libraries of a page: each is fetched once, from the folder of the built scripts. */
export class Libraries {
  private readonly loaded: Partial<Loaded> = {};
  private readonly loading = new Map<LibraryName, Promise<boolean>>();
  private readonly failures = new Map<LibraryName, number>();

  /** @param folder Address of the folder of the built scripts. */
  constructor(private readonly folder: string) {}

  /** Return a library that has been loaded. */
  get<N extends LibraryName>(name: N): Loaded[N] | undefined {
    return this.loaded[name];
  }

  /** Load a library; whether it is there then. Without a network the text stays as it is. */
  load(name: LibraryName): Promise<boolean> {
    if (this.loaded[name] !== undefined) return Promise.resolve(true);
    if ((this.failures.get(name) ?? 0) >= TRIES) return Promise.resolve(false);
    const running = this.loading.get(name) ?? this.fetch(name);
    this.loading.set(name, running);
    return running;
  }

  private async fetch<N extends LibraryName>(name: N): Promise<boolean> {
    try {
      // A failed import is remembered under its address: the next try has another one.
      const again = this.failures.get(name) ?? 0;
      const address = `${this.folder}${name}.js?v=${BUILT_VERSIONS[name]}${again ? `&again=${again}` : ""}`;
      const module = (await import(address)) as { library: Loaded[N] };
      this.loaded[name] = module.library;
      return true;
    } catch {
      this.failures.set(name, (this.failures.get(name) ?? 0) + 1);
      return false;
    } finally {
      this.loading.delete(name);
    }
  }
}

export const libraries = new Libraries(new URL(".", BUILT_URL).href);
