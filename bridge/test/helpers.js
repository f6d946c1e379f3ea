import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { Bridge } from '../src/bridge.js';
import { readSettings } from '../src/settings.js';
import { AppDouble } from './app_double.js';
import { StandIn } from './stand_in.js';

export const SECRET = 'secret-of-the-app';
export const TOKEN = 'token-of-the-bridge';
export const KIM = '491511000001@c.us';
export const LEE = '491522000002@c.us';
export const GROUP = '120363000000000001@g.us';
let count = 0;

/** @typedef {import('node:test').TestContext} TestContext */

/** @type {WeakMap<TestContext, (() => Promise<unknown>)[]>} */
const ENDINGS = new WeakMap();

/**
 * Has something done when a test has ended: the last that was asked for first.
 *
 * @param {TestContext} t
 * @param {() => Promise<unknown>} ending
 */
function atEnd(t, ending) {
  const endings = ENDINGS.get(t) ?? [];
  if (!endings.length) {
    ENDINGS.set(t, endings);
    t.after(async () => {
      for (const one of endings.reverse()) await one();
    });
  }
  endings.push(ending);
}

/** @param {TestContext} t */
export async function makeFolder(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'bridge-'));
  atEnd(t, () => rm(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * @param {string} from
 * @param {string} body
 * @param {Partial<import('../src/types.js').Message>} [more]
 * @returns {import('../src/types.js').Message & { id: string }}
 */
export function message(from, body, more = {}) {
  count += 1;
  const id = `false_${from}_${String(count).padStart(8, 'A')}`;
  const made = { type: 'chat', from, to: '491700000000@c.us', body, sender: { id: from }, timestamp: Math.ceil(Date.now() / 1000) };
  return { ...made, ...more, id: typeof more.id === 'string' ? more.id : id };
}

/** @param {TestContext} t */
export async function startApp(t, secret = SECRET) {
  const app = new AppDouble(secret);
  await app.listen();
  atEnd(t, () => app.close());
  return app;
}

/**
 * @param {TestContext} t
 * @param {object} [parts]
 * @param {StandIn} [parts.phone]
 * @param {string} [parts.appUrl]
 * @param {string} [parts.folder]
 * @param {Record<string, string>} [parts.env]
 * @param {number} [parts.check] Milliseconds between checks.
 */
export async function startBridge(t, { phone = new StandIn(), appUrl = 'http://127.0.0.1:9', folder, env = {}, check = 1 } = {}) {
  const settings = readSettings({
    CMW_WHATSAPP_SECRET: SECRET,
    CMW_WHATSAPP_BRIDGE_TOKEN: TOKEN,
    BRIDGE_APP_URL: appUrl,
    BRIDGE_DATA_DIR: folder ?? (await makeFolder(t)),
    BRIDGE_PORT: '0',
    BRIDGE_BROWSER: 'none',
    ...env,
  });
  /** @type {string[]} */
  const logged = [];
  /** @type {string[]} */
  const shown = [];
  const bridge = await Bridge.open({
    settings,
    create: phone.create,
    launch: phone.launch,
    show: (text) => void shown.push(text),
    log: (event, fields) => void logged.push(JSON.stringify({ event, ...fields })),
    times: { pause: 1, check },
  });
  const end = new AbortController();
  const done = bridge.run(end.signal);
  const stop = async () => {
    end.abort();
    await done;
  };
  atEnd(t, stop);
  await once(bridge.server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (bridge.server.address());
  return { bridge, phone, stop, logged, shown, settings, url: `http://127.0.0.1:${port}` };
}

/**
 * @param {string} url
 * @param {object} value
 * @param {Record<string, string>} [headers]
 */
export function post(url, value, headers = { authorization: `Bearer ${TOKEN}` }) {
  const body = JSON.stringify(value);
  return fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });
}

/**
 * Waits for what no event tells of.
 *
 * @param {() => boolean} isThere
 */
export async function until(isThere) {
  const latest = Date.now() + 30_000;
  while (!isThere()) {
    if (Date.now() > latest) throw new Error(`never: ${isThere}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
