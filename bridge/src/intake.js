import { digest } from './digest.js';
import { causeOf } from './logs.js';
import { bodyOf, hasFile, idOf, isOfPerson, timeOf } from './messages.js';
import { within } from './waiting.js';

const FILE_MS = 60_000;
const TRIES = 3;
const MAX_FAILED = 1000; // files of which the failures are known
const MAX_QUEUED = 1000; // messages in memory that are not on the disk yet
const MAX_CHATS = 200; // and messages of each, that are looked through for unread ones
const MAX_UNREAD = 100;
const UNREAD_MS = 60_000;

/**
 * @typedef {import('./types.js').Client} Client
 * @typedef {import('./types.js').Message} Message
 */

/**
 * Puts messages of people into the outbox, each once.
 *
 * What finds no room stays unread at WhatsApp, which is looked through when there is room again: so a chat is not marked as
 * read while a message of it is left there.
 */
export class Intake {
  /** @type {string[]} Of each message that is not on the disk yet, its chat as WhatsApp names it. */
  #queued = [];
  /** @type {Set<string>} Chats of which messages were left unread. */
  #left = new Set();
  /** @type {Map<string, number>} How often the file of a message was tried in vain. */
  #failures = new Map();
  #work = Promise.resolve();

  /**
   * @param {object} parts
   * @param {import('./outbox.js').Outbox} parts.outbox
   * @param {import('./seen_ids.js').SeenIds} parts.seen
   * @param {import('./addresses.js').Addresses} parts.addresses
   * @param {number} parts.maxFileBytes
   * @param {() => number} parts.since Seconds since 1970 before which a message is none of the bridge's.
   * @param {(client: Client) => boolean} parts.isConnected
   * @param {() => void} parts.onAdded
   * @param {import('./logs.js').Log} parts.log
   */
  constructor({ outbox, seen, addresses, maxFileBytes, since, isConnected, onAdded, log }) {
    this.outbox = outbox;
    this.seen = seen;
    this.addresses = addresses;
    this.maxFileBytes = maxFileBytes;
    this.since = since;
    this.isConnected = isConnected;
    this.onAdded = onAdded;
    this.log = log;
  }

  /** @returns {number} Chats of which messages were left unread. */
  get left() {
    return this.#left.size;
  }

  /**
   * Takes a message, if it is one for the app.
   *
   * @param {Client} client
   * @param {string[]} own The bridge's own ids.
   * @param {Message} message
   * @returns {boolean} Whether it is.
   */
  offer(client, own, message) {
    if (!isOfPerson(message) || timeOf(message) < this.since()) return false;
    const chat = idOf(message.from);
    if (this.#queued.length >= MAX_QUEUED) {
      this.#left.add(chat);
      return true;
    }
    this.#queued.push(chat);
    this.#work = this.#work
      .then(() => this.#take(client, own, chat, message))
      .catch((error) => {
        this.#left.add(chat);
        this.log('a message could not be stored and stays unread', { cause: causeOf(error) });
      })
      .finally(() => this.#queued.splice(this.#queued.indexOf(chat), 1));
    return true;
  }

  /**
   * Takes the messages that are unread at WhatsApp: they came while nobody was connected, or found no room.
   *
   * @param {Client} client
   * @param {string[]} own
   * @returns {Promise<string[]>} The chats of which there were some, as WhatsApp names them.
   */
  async catchUp(client, own) {
    const options = { onlyWithUnreadMessage: true, ignoreGroupMetadata: true, count: MAX_CHATS };
    const chats = (await within(client.listChats(options), UNREAD_MS)).slice(0, MAX_CHATS);
    if (chats.length < MAX_CHATS) this.#forgetRead(new Set(chats.map(({ id }) => idOf(id))));
    const found = [];
    for (const { id, unreadCount = 0 } of chats) {
      if (await this.#offerUnread(client, own, idOf(id), unreadCount)) found.push(idOf(id));
    }
    await this.idle();
    return found;
  }

  /** Waits until each offered message is dealt with. */
  async idle() {
    await this.#work;
  }

  /**
   * @param {Client} client
   * @param {string[]} own
   * @param {string} chat
   * @param {number} unread How many; -1 where somebody has marked the chat as unread.
   * @returns {Promise<boolean>} Whether one of them was for the app.
   */
  async #offerUnread(client, own, chat, unread) {
    const count = Math.min(unread, MAX_UNREAD);
    if (count < 1) return false;
    this.#left.delete(chat); // first: while they are read, the chat may be added again
    try {
      const messages = await within(client.getMessages(chat, { count }), UNREAD_MS);
      return messages.filter((message) => message && this.offer(client, own, message)).length > 0;
    } catch (error) {
      this.#left.add(chat);
      throw error;
    }
  }

  /**
   * Forgets what was left in chats that somebody has read on the phone.
   *
   * @param {Set<string>} unread The chats that are unread.
   */
  #forgetRead(unread) {
    for (const chat of this.#left) if (!unread.has(chat)) this.#left.delete(chat);
  }

  /**
   * @param {string} chat As WhatsApp names it.
   * @param {string} address As the app knows it.
   * @returns {boolean} Whether everything of a chat that came is with the app.
   */
  hasPassedOn(chat, address) {
    return !this.#left.has(chat) && !this.#queued.includes(chat) && !this.outbox.entriesOf(address).length;
  }

  /**
   * @param {Client} client
   * @param {string[]} own
   * @param {string} chat
   * @param {Message} message
   */
  async #take(client, own, chat, message) {
    const id = idOf(message.id);
    if (this.seen.has(digest(id)) || this.outbox.has(id)) return;
    const address = await this.addresses.addressOf(client, chat);
    const sender = await this.addresses.addressOf(client, senderOf(message, chat));
    // a later message must not overtake one that was left
    if (this.#left.has(chat) || !this.outbox.hasRoom(address, 0)) return this.#leave(chat);
    const file = hasFile(message) ? await this.#file(client, message) : {};
    if (!file) return this.#leave(chat);
    const body = bodyOf(message, { chat: address, sender, own, file });
    if (!this.outbox.hasRoom(address, body.length)) return this.#leave(chat);
    await this.outbox.add(address, id, body);
    await this.seen.add(digest(id));
    this.onAdded();
  }

  /** @param {string} chat */
  #leave(chat) {
    this.#left.add(chat);
    this.log('a message stays unread for now', this.outbox.size);
  }

  /**
   * Returns a message's file: without its bytes where it is too large or does not come, which the app then says to its
   * sender; null where it may come once the connection is back. It may also have been what ended the connection, so that
   * it is not tried for ever.
   *
   * @param {Client} client
   * @param {Message} message
   * @returns {Promise<import('./messages.js').File | null>}
   */
  async #file(client, message) {
    if ((message.size ?? 0) > this.maxFileBytes) return { size: message.size };
    const id = idOf(message.id);
    while ((this.#failures.get(id) ?? 0) < TRIES) {
      try {
        const url = await within(client.downloadMedia(id), FILE_MS);
        const [, type = '', base64 = ''] = /^data:([^;,]*)[^,]*;base64,(.*)$/s.exec(url) ?? [];
        // the size that came with the message is its sender's word
        const size = Buffer.byteLength(base64, 'base64');
        return size > this.maxFileBytes ? { size } : { base64, type, size };
      } catch (error) {
        this.#noteFailure(id, error);
        if (!this.isConnected(client)) return null;
      }
    }
    return {};
  }

  /**
   * @param {string} id
   * @param {unknown} error
   */
  #noteFailure(id, error) {
    this.#failures.set(id, (this.#failures.get(id) ?? 0) + 1);
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > MAX_FAILED && oldest) this.#failures.delete(oldest);
    this.log('a file could not be fetched', { message: digest(id).slice(0, 12), cause: causeOf(error) });
  }
}

/**
 * @param {Message} message
 * @param {string} chat
 */
function senderOf(message, chat) {
  if (!chat.endsWith('@g.us')) return chat;
  return idOf(message.author) || idOf(message.sender?.id);
}
