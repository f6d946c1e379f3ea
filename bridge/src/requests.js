import { createHash, timingSafeEqual } from 'node:crypto';

/** A request that is not served; the message is a sentence for who has sent it. */
export class RequestError extends Error {
  /**
   * @param {number} status
   * @param {string} sentence
   * @param {Record<string, string>} [headers]
   */
  constructor(status, sentence, headers = {}) {
    super(sentence);
    this.status = status;
    this.headers = headers;
  }
}

/**
 * Refuses who does not know the token.
 *
 * @param {import('node:http').IncomingMessage} request
 * @param {string} token
 * @param {{ byPassword?: boolean }} [ways] Whether a browser may ask for the token as a password: a page of another site
 *   could have the browser send it again, so that nothing may be changed by it.
 * @throws {RequestError}
 */
export function requireToken(request, token, { byPassword = false } = {}) {
  const [, way = '', sent = ''] = /^(\w+) +(\S+)$/.exec(request.headers.authorization ?? '') ?? [];
  const isBasic = byPassword && way.toLowerCase() === 'basic';
  const password = isBasic ? Buffer.from(sent, 'base64').toString().replace(/^[^:]*:/s, '') : sent;
  if ((isBasic || way.toLowerCase() === 'bearer') && isSame(password, token)) return;
  throw new RequestError(401, 'The token is missing or wrong.', byPassword ? { 'www-authenticate': 'Basic realm="bridge"' } : {});
}

/**
 * Reads a JSON object.
 *
 * @param {import('node:http').IncomingMessage} request
 * @param {number} maxBytes
 * @returns {Promise<Record<string, unknown>>}
 * @throws {RequestError}
 */
export async function readJson(request, maxBytes) {
  if (!/^application\/json *(;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw new RequestError(415, 'The request must be application/json.');
  }
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > maxBytes) throw new RequestError(413, 'The request is too large.', { connection: 'close' });
    parts.push(part);
  }
  try {
    const value = JSON.parse(Buffer.concat(parts).toString());
    if (value && typeof value === 'object' && !Array.isArray(value)) return value;
  } catch {
    throw new RequestError(400, 'The request is not JSON.');
  }
  throw new RequestError(422, 'The request must be a JSON object.');
}

/**
 * @param {string} one
 * @param {string} other
 */
function isSame(one, other) {
  return timingSafeEqual(createHash('sha256').update(one).digest(), createHash('sha256').update(other).digest());
}
