import { open, readFile } from 'node:fs/promises';

import { writeWhole } from './files.js';

const NAME = /^[0-9a-f]{32}$/;

/** The ids of the newest messages that were taken: as digests, in memory and in a file. */
export class SeenIds {
  /** @type {Set<string>} From oldest to newest. */
  #names;
  #lines;
  /** @type {import('node:fs/promises').FileHandle} */
  #handle;

  /**
   * @param {string} file
   * @param {number} max
   * @param {Set<string>} names
   * @param {import('node:fs/promises').FileHandle} handle
   */
  constructor(file, max, names, handle) {
    this.file = file;
    this.max = max;
    this.#names = names;
    this.#lines = names.size;
    this.#handle = handle;
  }

  /**
   * @param {string} file Its path; it need not be there.
   * @param {number} [max] Ids that are known at once.
   * @returns {Promise<SeenIds>}
   */
  static async open(file, max = 20_000) {
    const text = await readFile(file, 'utf8').catch((error) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
    const names = new Set(text.split('\n').filter((line) => NAME.test(line)).slice(-max));
    // written anew: a line that was cut by the end of a process would spoil the next one
    await writeWhole(file, lines(names));
    return new SeenIds(file, max, names, await open(file, 'a', 0o600));
  }

  /** @param {string} name A digest. */
  has(name) {
    return this.#names.has(name);
  }

  /** @param {string} name A digest. */
  async add(name) {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    const [oldest] = this.#names;
    if (this.#names.size > this.max && oldest !== undefined) this.#names.delete(oldest);
    await this.#handle.appendFile(`${name}\n`);
    this.#lines += 1;
    if (this.#lines > 2 * this.max) await this.#compact();
  }

  async close() {
    await this.#handle.close();
  }

  async #compact() {
    await this.#handle.close();
    await writeWhole(this.file, lines(this.#names));
    this.#handle = await open(this.file, 'a', 0o600);
    this.#lines = this.#names.size;
  }
}

/** @param {Set<string>} names */
function lines(names) {
  return [...names].map((name) => `${name}\n`).join('');
}
