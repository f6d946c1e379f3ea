import { within } from './waiting.js';

const MAX_QUEUED = 64;
const BEGIN_MS = 15_000; // in which a send must begin: who asks for it waits thirty seconds
const SEND_MS = 13_000;
const FILE_MS = 60_000;
const TYPING_MS = 5000;
const TYPING_LASTS_MS = 120_000; // where nobody ends it
const MAX_TYPING = 200;
// What the library says before anything was sent.
const NOT_SENT = /chat not found|invalid wid|failed to find or create chat/i;

/**
 * A text was not sent. `uncertain`: perhaps it was; every other word says that it certainly was not.
 *
 * @typedef {'disconnected' | 'busy' | 'unknown_chat' | 'uncertain'} SendProblem
 */
export class SendError extends Error {
  /** @param {SendProblem} problem */
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

/** Sends what the app asks for: one thing after the other, as a phone does. */
export class Sending {
  /** Sends that were asked for and have not ended. */
  queued = 0;
  #work = Promise.resolve();
  /** @type {Map<string, NodeJS.Timeout>} */
  #typing = new Map();

  /**
   * @param {object} parts
   * @param {() => import('./types.js').Client | null} parts.client
   * @param {(address: string) => string} parts.idOf What WhatsApp calls an address.
   * @param {number} [parts.sendMs] In which a text must be sent.
   */
  constructor({ client, idOf, sendMs = SEND_MS }) {
    this.client = client;
    this.idOf = idOf;
    this.sendMs = sendMs;
  }

  /**
   * @param {string} chat
   * @param {string} text
   * @param {AbortSignal} signal Aborted when nobody waits for it any more.
   * @returns {Promise<unknown>} The message's id.
   * @throws {SendError}
   */
  async text(chat, text, signal) {
    return this.#inTurn(signal, this.sendMs, async (client) => (await client.sendText(this.idOf(chat), text)).id);
  }

  /**
   * @param {string} chat
   * @param {{ base64: string, type: string, filename: string, caption: string }} file
   * @param {AbortSignal} signal Aborted when nobody waits for it any more.
   * @returns {Promise<unknown>} The message's id.
   * @throws {SendError}
   */
  async file(chat, { base64, type, filename, caption }, signal) {
    const url = `data:${type};base64,${base64}`;
    const options = { type: /** @type {const} */ ('auto-detect'), filename, caption };
    return this.#inTurn(signal, FILE_MS, async (client) => (await client.sendFile(this.idOf(chat), url, options)).id);
  }

  /**
   * Shows, or hides, that an answer is being written.
   *
   * @param {string} chat
   * @param {boolean} isOn
   * @throws {SendError}
   */
  async typing(chat, isOn) {
    const client = this.client();
    if (!client) throw new SendError('disconnected');
    clearTimeout(this.#typing.get(chat));
    this.#typing.delete(chat);
    const id = this.idOf(chat);
    if (isOn && this.#typing.size < MAX_TYPING) {
      const hide = () => void this.typing(chat, false).catch(() => undefined);
      this.#typing.set(chat, setTimeout(hide, TYPING_LASTS_MS).unref());
    }
    await within(isOn ? client.startTyping(id) : client.stopTyping(id), TYPING_MS).catch(() => {
      throw new SendError('uncertain');
    });
  }

  /**
   * @template T
   * @param {AbortSignal} signal
   * @param {number} milliseconds
   * @param {(client: import('./types.js').Client) => Promise<T>} send
   * @returns {Promise<T>}
   */
  async #inTurn(signal, milliseconds, send) {
    if (this.queued >= MAX_QUEUED) throw new SendError('busy');
    const latest = Date.now() + BEGIN_MS;
    this.queued += 1;
    const done = this.#work.then(() => {
      if (signal.aborted || Date.now() > latest) throw new SendError('busy');
      return this.#send(milliseconds, send);
    });
    this.#work = done.then(
      () => undefined,
      () => undefined,
    );
    try {
      return await done;
    } finally {
      this.queued -= 1;
    }
  }

  /**
   * @template T
   * @param {number} milliseconds
   * @param {(client: import('./types.js').Client) => Promise<T>} send
   * @returns {Promise<T>}
   */
  async #send(milliseconds, send) {
    const client = this.client();
    if (!client) throw new SendError('disconnected');
    try {
      return await within(send(client), milliseconds);
    } catch (error) {
      const isKnown = error instanceof Error && NOT_SENT.test(error.message);
      throw new SendError(isKnown ? 'unknown_chat' : 'uncertain');
    }
  }
}
