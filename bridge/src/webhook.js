import { createHmac } from 'node:crypto';

const SECONDS_TO_ANSWER = 60;
const MAX_ANSWER_BYTES = 100_000;
const STOP_MS = 5000; // in which the app may still answer when the bridge ends: else the message would be posted again

/**
 * What came of a post. `accepted`: the app has the message. `refused`: it never will. `too_large`: not with its file.
 * `failed`: not this one for now. `away`: none for now.
 *
 * @typedef {'accepted' | 'refused' | 'too_large' | 'failed' | 'away'} Outcome
 */

/** Posts to the app, signed as the app's own bridge signs. */
export class Webhook {
  /**
   * The last answer, for who asks how the bridge is: `none`, `unreachable`, a status such as `http_200`, or `inline_reply` where
   * the app must be told by its settings to send its answers.
   */
  lastAnswer = 'none';

  /**
   * @param {object} app
   * @param {string} app.appUrl
   * @param {string} app.secret
   * @param {number} [app.milliseconds] In which it must answer.
   */
  constructor({ appUrl, secret, milliseconds = SECONDS_TO_ANSWER * 1000 }) {
    this.url = `${appUrl}/whatsapp/incoming`;
    this.secret = secret;
    this.milliseconds = milliseconds;
  }

  /**
   * @param {Buffer} body
   * @param {AbortSignal} signal Shortens the wait for an answer.
   * @returns {Promise<Outcome>}
   */
  async post(body, signal) {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.milliseconds);
    const stop = () => setTimeout(() => late.abort(), STOP_MS).unref();
    signal.addEventListener('abort', stop, { once: true });
    try {
      const response = await fetch(this.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-hub-signature-256': this.sign(body) },
        body,
        redirect: 'manual',
        signal: late.signal,
      });
      this.lastAnswer = await answerOf(response);
      return outcomeOf(response.status);
    } catch {
      this.lastAnswer = 'unreachable';
      return 'away';
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  /** @param {Buffer} body */
  sign(body) {
    return `sha256=${createHmac('sha256', this.secret).update(body).digest('hex')}`;
  }
}

/**
 * @param {Response} response
 * @returns {Promise<string>}
 */
async function answerOf(response) {
  const size = Number(response.headers.get('content-length') ?? Infinity);
  if (response.status !== 200 || size > MAX_ANSWER_BYTES) {
    await response.body?.cancel();
    return `http_${response.status}`;
  }
  const answer = /** @type {{ reply?: unknown } | null} */ (await response.json().catch(() => null));
  return typeof answer?.reply === 'string' ? 'inline_reply' : 'http_200';
}

/**
 * @param {number} status
 * @returns {Outcome}
 */
function outcomeOf(status) {
  if (status >= 200 && status < 300) return 'accepted';
  if (status === 413) return 'too_large';
  if (status === 400 || status === 415 || status === 422) return 'refused';
  // 401 and 404 are settings that somebody will put right, and the messages then still be there
  return status === 500 ? 'failed' : 'away';
}
