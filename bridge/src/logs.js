/**
 * @callback Log
 * @param {string} event What has happened, in words that never change.
 * @param {Record<string, string | number | boolean>} [fields] No text of a message, no number of a person, no secret.
 * @returns {void}
 */

/** @type {Log} Writes one line of JSON to the standard error output. */
export function writeLog(event, fields = {}) {
  process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), event, ...fields })}\n`);
}

/**
 * @param {unknown} error
 * @returns {string} The error's name and code: its text may quote a message.
 */
export function causeOf(error) {
  if (!(error instanceof Error)) return typeof error;
  const { code } = /** @type {{ code?: unknown }} */ (error);
  return typeof code === 'string' ? `${error.name} ${code}` : error.name;
}
