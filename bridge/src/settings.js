import { accessSync, constants } from 'node:fs';
import path from 'node:path';

const MIN_TOKEN_CHARS = 16;
const MAX_FILE_BYTES = 100_000_000; // in memory several times, in base64
const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** A setting is missing or wrong; the message is one sentence that says what to change. */
export class SettingError extends Error {}

/**
 * @typedef {object} Settings
 * @property {string} appUrl Where the app is.
 * @property {string} secret Signs what goes to the app.
 * @property {string} token What callers of the bridge must know.
 * @property {string} host Where the bridge listens.
 * @property {number} port Where the bridge listens.
 * @property {string} folder Holds the session, the outbox and the ids.
 * @property {string} browser The path of Chromium; empty where none was found.
 * @property {boolean} hasSandbox Whether Chromium's own sandbox is on.
 * @property {number} maxFileBytes Of one file.
 * @property {number} maxWaiting Messages in the outbox.
 * @property {number} maxWaitingBytes Bytes in the outbox.
 * @property {number} keepSeconds For which a message waits for the app.
 */

/**
 * Reads the settings.
 *
 * @param {Record<string, string | undefined>} env The environment.
 * @returns {Settings}
 * @throws {SettingError} One is missing or wrong.
 */
export function readSettings(env) {
  const token = env['CMW_WHATSAPP_BRIDGE_TOKEN'] ?? '';
  if (token.length < MIN_TOKEN_CHARS) {
    throw new SettingError(`CMW_WHATSAPP_BRIDGE_TOKEN must have at least ${MIN_TOKEN_CHARS} characters.`);
  }
  const maxWaitingBytes = count(env, 'BRIDGE_MAX_WAITING_MB', 500, 10, 100_000) * 1_000_000;
  const maxFileBytes = count(env, 'CMW_MAX_FILE_BYTES', 20_000_000, 1024, 1_073_741_824);
  return {
    appUrl: address(env, 'BRIDGE_APP_URL', 'http://127.0.0.1:7860'),
    secret: firstSecret(env),
    token,
    host: env['BRIDGE_HOST'] || '127.0.0.1',
    port: count(env, 'BRIDGE_PORT', 3001, 0, 65535),
    folder: path.resolve(env['BRIDGE_DATA_DIR'] || 'data'),
    browser: env['BRIDGE_BROWSER'] || findBrowser(env['PATH'] ?? ''),
    // Chromium refuses to start its sandbox as root.
    hasSandbox: env['BRIDGE_SANDBOX'] ? isOn(env, 'BRIDGE_SANDBOX') : process.getuid?.() !== 0,
    // A file that in base64 exceeds a chat's share of the outbox would never be sent.
    maxFileBytes: Math.min(maxFileBytes, MAX_FILE_BYTES, maxWaitingBytes * 0.3),
    maxWaiting: count(env, 'BRIDGE_MAX_WAITING', 1000, 10, 10_000),
    maxWaitingBytes,
    keepSeconds: seconds(env, 'CMW_WHATSAPP_WINDOW_SECONDS', 86_400),
  };
}

/** @param {Record<string, string | undefined>} env */
function firstSecret(env) {
  const [secret = ''] = (env['CMW_WHATSAPP_SECRET'] ?? '').split(',').map((part) => part.trim()).filter(Boolean);
  if (!secret) throw new SettingError('CMW_WHATSAPP_SECRET must be set, to what the app has.');
  return secret;
}

/**
 * @param {Record<string, string | undefined>} env
 * @param {string} name
 * @param {string} usual
 */
function address(env, name, usual) {
  const text = env[name] || usual;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new SettingError(`${name} must be an address such as ${usual}.`);
  }
  return text.replace(/\/+$/, '');
}

/**
 * @param {Record<string, string | undefined>} env
 * @param {string} name
 * @param {number} usual
 * @param {number} min
 * @param {number} max
 */
function count(env, name, usual, min, max) {
  const text = env[name];
  if (!text) return usual;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new SettingError(`${name} must be a whole number from ${min} to ${max}.`);
  }
  return value;
}

/**
 * @param {Record<string, string | undefined>} env
 * @param {string} name
 * @param {number} usual
 */
function seconds(env, name, usual) {
  const text = env[name];
  const value = Number(text || usual);
  if (!(value > 0 && value < Infinity)) throw new SettingError(`${name} must be seconds.`);
  return value;
}

/**
 * @param {Record<string, string | undefined>} env
 * @param {string} name
 */
function isOn(env, name) {
  const text = env[name]?.toLowerCase();
  if (text !== 'on' && text !== 'off') throw new SettingError(`${name} must be on or off.`);
  return text === 'on';
}

/** @param {string} folders */
function findBrowser(folders) {
  for (const name of BROWSERS) {
    for (const folder of folders.split(path.delimiter)) {
      const file = path.join(folder, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        continue;
      }
    }
  }
  return '';
}
