import { setTimeout as sleep } from 'node:timers/promises';

/** Something took longer than it may. */
export class TimeoutError extends Error {}

/**
 * Waits, no longer than allowed. What is waited for goes on: only its result is given up.
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {number} milliseconds
 * @returns {Promise<T>}
 * @throws {TimeoutError} The time is over.
 */
export async function within(promise, milliseconds) {
  const timer = new AbortController();
  const late = sleep(milliseconds, undefined, { signal: timer.signal }).then(() => {
    throw new TimeoutError(`no end within ${milliseconds} ms`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
    late.catch(() => undefined);
    promise.catch(() => undefined);
  }
}

/** Pauses that double up to a longest one; each is cut by chance, so that many bridges do not come at once. */
export class BackOff {
  #failures = 0;

  /**
   * @param {object} bounds
   * @param {number} bounds.first Milliseconds of the first pause.
   * @param {number} bounds.longest Milliseconds of the longest pause.
   * @param {() => number} [bounds.chance] From 0 to 1.
   */
  constructor({ first, longest, chance = Math.random }) {
    this.first = first;
    this.longest = longest;
    this.chance = chance;
  }

  /** @returns {number} Milliseconds of the next pause: from half of it to the whole. */
  next() {
    const whole = Math.min(this.first * 2 ** Math.min(this.#failures, 30), this.longest);
    this.#failures += 1;
    return whole * (0.5 + this.chance() / 2);
  }

  /** Begins anew with the first pause. */
  reset() {
    this.#failures = 0;
  }
}

/** Wakes one waiter: at once where it was notified before. */
export class WakeSignal {
  #isNotified = false;
  #wake = () => {};

  notify() {
    this.#isNotified = true;
    this.#wake();
  }

  /**
   * @param {number} milliseconds After which the wait ends by itself.
   * @param {AbortSignal} signal Ends the wait.
   */
  async wait(milliseconds, signal) {
    if (!this.#isNotified && !signal.aborted) {
      const timer = new AbortController();
      /** @type {Promise<void>} */
      const notified = new Promise((resolve) => {
        this.#wake = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true, signal: timer.signal });
      });
      const late = sleep(milliseconds, undefined, { signal: timer.signal }).catch(() => undefined);
      await Promise.race([notified, late]);
      timer.abort();
    }
    this.#isNotified = false;
  }
}
