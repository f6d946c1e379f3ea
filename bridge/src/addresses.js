import { readFile } from 'node:fs/promises';

import { writeWhole } from './files.js';
import { idOf } from './messages.js';
import { within } from './waiting.js';

const LOOKUP_MS = 10_000;
const MAX = 10_000;

/**
 * By which address the app knows a person whom WhatsApp names by a LID: by the number where WhatsApp tells it, and by the
 * same one ever after, since another address would be another user.
 */
export class Addresses {
  /** @type {Map<string, string>} The address of each LID, from oldest to newest. */
  #addresses;

  /**
   * @param {string} file
   * @param {Map<string, string>} addresses
   */
  constructor(file, addresses) {
    this.file = file;
    this.#addresses = addresses;
  }

  /**
   * @param {string} file Its path; it need not be there.
   * @returns {Promise<Addresses>}
   */
  static async open(file) {
    const text = await readFile(file, 'utf8').catch((error) => {
      if (error.code === 'ENOENT') return '[]';
      throw error;
    });
    return new Addresses(file, new Map(JSON.parse(text)));
  }

  /**
   * @param {import('./types.js').Client} client
   * @param {string} id Of a person or a group, as WhatsApp has it.
   * @returns {Promise<string>} The address that the app knows.
   */
  async addressOf(client, id) {
    if (!id.endsWith('@lid')) return id;
    const known = this.#addresses.get(id);
    if (known) return known;
    const entry = await within(client.getPnLidEntry(id), LOOKUP_MS).catch(() => null);
    const address = idOf(entry?.phoneNumber) || id;
    this.#addresses.set(id, address);
    const [oldest] = this.#addresses.keys();
    if (this.#addresses.size > MAX && oldest) this.#addresses.delete(oldest);
    await writeWhole(this.file, JSON.stringify([...this.#addresses]));
    return address;
  }

  /**
   * @param {string} address
   * @returns {string} What WhatsApp calls this person or group; of several names the newest.
   */
  idOf(address) {
    let found = address;
    for (const [id, known] of this.#addresses) if (known === address) found = id;
    return found;
  }
}
