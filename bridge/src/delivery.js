import { BackOff, WakeSignal } from './waiting.js';
import { causeOf } from './logs.js';

const FIRST_MS = 1000;
const LONGEST_MS = 60_000;
const IDLE_MS = 60_000;
const LARGE = 1_000_000; // bytes: who refuses so much may cut the connection rather than answer

/** Delivers the outbox to the app, in order within each chat, until the app has taken everything. */
export class Delivery {
  refused = 0;
  expired = 0;
  #signal = new WakeSignal();
  #backOff;

  /**
   * @param {object} parts
   * @param {import('./outbox.js').Outbox} parts.outbox
   * @param {import('./webhook.js').Webhook} parts.webhook
   * @param {(chat: string) => void} parts.onTaken Is told each chat of which the app has taken a message.
   * @param {number} parts.keepSeconds After which the app would not answer a message any more.
   * @param {import('./logs.js').Log} parts.log
   * @param {number} [parts.firstPause] In milliseconds.
   */
  constructor({ outbox, webhook, onTaken, keepSeconds, log, firstPause = FIRST_MS }) {
    this.outbox = outbox;
    this.webhook = webhook;
    this.onTaken = onTaken;
    this.keepSeconds = keepSeconds;
    this.log = log;
    this.#backOff = new BackOff({ first: firstPause, longest: LONGEST_MS });
  }

  /** Says that there is something to deliver. */
  notify() {
    this.#signal.notify();
  }

  /** @param {AbortSignal} signal Ends it. */
  async run(signal) {
    while (!signal.aborted) {
      const isDone = await this.#pass(signal).catch((error) => {
        this.log('the outbox could not be read', { cause: causeOf(error) });
        return false;
      });
      if (isDone) {
        this.#backOff.reset();
        await this.#signal.wait(IDLE_MS, signal);
      } else if (!signal.aborted) {
        // a signal meanwhile says nothing of the app: the pause is waited through
        await new WakeSignal().wait(this.#backOff.next(), signal);
      }
    }
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>} Whether nothing is left that the app did not take.
   */
  async #pass(signal) {
    const failed = new Set();
    for (const entry of this.outbox.entries()) {
      if (signal.aborted) return false;
      if (failed.has(entry.chat)) continue;
      const outcome = await this.#deliver(entry, signal);
      if (outcome === 'away') {
        this.log('the app does not take messages', { answer: this.webhook.lastAnswer, ...this.outbox.size });
        return false;
      }
      if (outcome === 'failed') failed.add(entry.chat);
    }
    return failed.size === 0;
  }

  /**
   * @param {import('./outbox.js').Entry} entry
   * @param {AbortSignal} signal
   */
  async #deliver(entry, signal) {
    if (Date.now() - entry.at > this.keepSeconds * 1000) {
      this.expired += 1;
      this.log('a message is too old to be answered', { message: entry.id.slice(0, 12) });
      await this.outbox.remove(entry);
      return 'refused';
    }
    const found = await this.outbox.read(entry);
    let outcome = found ? await this.webhook.post(found.body, signal) : 'refused';
    if (found && outcome === 'too_large') {
      outcome = await this.webhook.post(withoutFile(found.body), signal);
      if (outcome === 'too_large') outcome = 'refused';
    }
    if (outcome === 'away' && this.webhook.lastAnswer === 'unreachable' && entry.bytes > LARGE) outcome = 'failed';
    if (outcome === 'accepted' || outcome === 'refused') await this.outbox.remove(entry);
    if (found && outcome === 'accepted') this.onTaken(found.chat);
    if (this.webhook.lastAnswer === 'inline_reply') {
      this.log('an answer came where nobody sends it: CMW_WHATSAPP_INLINE must be off', { message: entry.id.slice(0, 12) });
    }
    if (outcome === 'refused') {
      this.refused += 1;
      this.log('the app refuses a message', { message: entry.id.slice(0, 12), answer: this.webhook.lastAnswer });
    }
    return outcome;
  }
}

/** @param {Buffer} body */
function withoutFile(body) {
  const { mediaBase64: _, ...rest } = JSON.parse(body.toString());
  return Buffer.from(JSON.stringify(rest));
}
