import { mkdir, readFile, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';

import { digest } from './digest.js';
import { writeWhole } from './files.js';

const NAME = /^(\d{15})\.([0-9a-f]{32})\.([0-9a-f]{32})$/;
const CHAT_SHARE = 10; // one chat may have a tenth of all messages
const CHAT_BYTES_SHARE = 2; // and half of all bytes

/**
 * @typedef {object} Entry A message that waits for the app.
 * @property {string} name Of its file.
 * @property {number} at When it was added, in milliseconds since 1970.
 * @property {string} chat The digest of its chat.
 * @property {string} id The digest of its id.
 * @property {number} bytes
 */

/** Messages of people that the app has not taken yet: a file each, in order. */
export class Outbox {
  /** @type {Map<string, Entry>} From oldest to newest. */
  #entries = new Map();
  #last = 0;
  #bytes = 0;

  /**
   * @param {string} folder
   * @param {{ maxWaiting: number, maxWaitingBytes: number }} limits
   */
  constructor(folder, limits) {
    this.folder = folder;
    this.limits = limits;
  }

  /**
   * Reads what an earlier process has left.
   *
   * @param {string} folder It need not be there.
   * @param {{ maxWaiting: number, maxWaitingBytes: number }} limits
   * @returns {Promise<Outbox>}
   */
  static async open(folder, limits) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const outbox = new Outbox(folder, limits);
    for (const name of (await readdir(folder)).sort()) {
      const match = NAME.exec(name);
      if (match) {
        outbox.#note(name, match, (await stat(path.join(folder, name))).size);
      } else if (name.endsWith('.draft')) {
        await rm(path.join(folder, name), { force: true });
      }
    }
    return outbox;
  }

  /** @returns {{ messages: number, bytes: number }} */
  get size() {
    return { messages: this.#entries.size, bytes: this.#bytes };
  }

  /** @returns {Entry[]} From oldest to newest. */
  entries() {
    return [...this.#entries.values()];
  }

  /** @param {string} id */
  has(id) {
    const name = digest(id);
    return this.entries().some((entry) => entry.id === name);
  }

  /**
   * @param {string} chat The chat's address.
   * @returns {Entry[]} Its messages.
   */
  entriesOf(chat) {
    const name = digest(chat);
    return this.entries().filter((entry) => entry.chat === name);
  }

  /**
   * @param {string} chat The chat's address.
   * @param {number} bytes
   * @returns {boolean} Whether a message fits in.
   */
  hasRoom(chat, bytes) {
    const { maxWaiting, maxWaitingBytes } = this.limits;
    const waiting = this.entriesOf(chat);
    const chatBytes = waiting.reduce((sum, entry) => sum + entry.bytes, bytes);
    return (
      this.#entries.size < maxWaiting &&
      this.#bytes + bytes <= maxWaitingBytes &&
      waiting.length < Math.ceil(maxWaiting / CHAT_SHARE) &&
      chatBytes <= maxWaitingBytes / CHAT_BYTES_SHARE
    );
  }

  /**
   * Adds a message; when this ends it is on the disk.
   *
   * @param {string} chat The chat's address.
   * @param {string} id The message's id.
   * @param {Buffer} body What the app is to be sent.
   * @throws {Error} The disk does not take it.
   */
  async add(chat, id, body) {
    const at = Math.max(Date.now(), this.#last + 1);
    this.#last = at;
    const name = `${String(at).padStart(15, '0')}.${digest(chat)}.${digest(id)}`;
    const content = Buffer.concat([Buffer.from(`${JSON.stringify({ chat })}\n`), body]);
    await writeWhole(path.join(this.folder, name), content);
    this.#note(name, /** @type {RegExpExecArray} */ (NAME.exec(name)), content.length);
  }

  /**
   * @param {Entry} entry
   * @returns {Promise<{ chat: string, body: Buffer } | null>} None where the file is damaged.
   */
  async read(entry) {
    const content = await readFile(path.join(this.folder, entry.name));
    const end = content.indexOf('\n');
    try {
      const { chat } = JSON.parse(content.subarray(0, end).toString());
      return typeof chat === 'string' ? { chat, body: content.subarray(end + 1) } : null;
    } catch {
      return null;
    }
  }

  /** @param {Entry} entry */
  async remove(entry) {
    await rm(path.join(this.folder, entry.name), { force: true });
    if (this.#entries.delete(entry.name)) this.#bytes -= entry.bytes;
  }

  /**
   * @param {string} name
   * @param {RegExpExecArray} match
   * @param {number} bytes
   */
  #note(name, match, bytes) {
    const [, at = '', chat = '', id = ''] = match;
    this.#entries.set(name, { name, at: Number(at), chat, id, bytes });
    this.#last = Math.max(this.#last, Number(at));
    this.#bytes += bytes;
  }
}
