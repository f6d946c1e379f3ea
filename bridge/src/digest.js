import { createHash } from 'node:crypto';

/**
 * @param {string} text
 * @returns {string} A name for a text that does not show it.
 */
export function digest(text) {
  return createHash('sha256').update(`cmw.bridge\0${text}`).digest('hex').slice(0, 32);
}
