import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { causeOf } from './logs.js';
import { idOf } from './messages.js';
import { BackOff, within } from './waiting.js';

const OPEN_MS = 180_000; // in which the browser and the page must be there
const SYNC_MS = 300_000; // in which a phone must hand over its chats
const CLOSE_MS = 15_000;
const ASK_MS = 20_000;
const CHECK_MS = 30_000;
const MAX_BAD_CHECKS = 6;
const CODE_MS = 600_000; // after which a code is no more: WhatsApp shows another one each twenty seconds
const FIRST_MS = 2000;
const LONGEST_MS = 300_000;
// After these nothing comes until the page is opened anew; the others end by themselves.
const ENDINGS = new Set(
  ['CONFLICT', 'UNPAIRED', 'UNPAIRED_IDLE', 'DEPRECATED_VERSION', 'PROXYBLOCK', 'SMB_TOS_BLOCK', 'TOS_BLOCK'],
);
// A profile that was left by a killed process, or in another container, counts as in use.
const LOCKS = ['SingletonLock', 'SingletonCookie', 'SingletonSocket'];
const METHODS = /** @type {const} */ ([
  ...['onMessage', 'onStateChange', 'waitForLogin', 'getConnectionState', 'getWid', 'getPnLidEntry', 'listChats'],
  ...['getMessages', 'downloadMedia', 'sendText', 'sendFile', 'sendSeen', 'startTyping', 'stopTyping'],
]);

/**
 * @typedef {import('./types.js').Client} Client
 * @typedef {'starting' | 'scan the code' | 'connecting' | 'connected' | 'disconnected' | 'stopped'} State
 */

/** The end of a connection; its message is for the operator, and quotes nobody. */
class ConnectionEnd extends Error {}

/** The connection to WhatsApp: opened, watched, and opened again, for as long as the bridge runs. */
export class Connection {
  /** @type {State} */
  state = 'starting';
  /** @type {{ image: string, attempt: number } | null} The code to scan, while there is one. */
  code = null;
  /** What ended the last connection; empty for nothing. */
  problem = '';
  /** @type {string[]} The ids by which WhatsApp knows the bridge. */
  own = [];
  /** @type {Client | null} */
  #client = null;
  #isLinked = false;
  #codeAt = 0;
  /** @type {(problem: string) => void} */
  #end = () => {};
  #backOff;

  /**
   * @param {object} parts
   * @param {import('./types.js').Create} parts.create The library's.
   * @param {import('./types.js').Launch} parts.launch Starts a browser.
   * @param {import('./settings.js').Settings} parts.settings
   * @param {(client: Client, own: string[], message: import('./types.js').Message) => void} parts.onMessage
   * @param {() => Promise<void>} parts.onConnected
   * @param {() => Promise<void>} parts.onUnlinked Is told that a code must be scanned.
   * @param {(text: string) => void} parts.show Shows a code in the terminal.
   * @param {import('./logs.js').Log} parts.log
   * @param {number} [parts.firstPause] In milliseconds.
   * @param {number} [parts.checkEach] In milliseconds.
   */
  constructor({ create, launch, settings, onMessage, onConnected, onUnlinked, show, log, firstPause, checkEach }) {
    this.create = create;
    this.launch = launch;
    this.settings = settings;
    this.onMessage = onMessage;
    this.onConnected = onConnected;
    this.onUnlinked = onUnlinked;
    this.show = show;
    this.log = log;
    this.checkEach = checkEach ?? CHECK_MS;
    this.#backOff = new BackOff({ first: firstPause ?? FIRST_MS, longest: LONGEST_MS });
  }

  /** @returns {Client | null} While it is connected. */
  get client() {
    return this.state === 'connected' ? this.#client : null;
  }

  /** @param {AbortSignal} signal Ends it. */
  async run(signal) {
    while (!signal.aborted) {
      this.state = 'starting';
      await this.#once(signal);
      if (signal.aborted) break;
      this.state = 'disconnected';
      const pause = this.#backOff.next();
      this.log('WhatsApp is opened again', { problem: this.problem, seconds: Math.round(pause / 1000) });
      await sleep(pause, undefined, { signal }).catch(() => undefined);
    }
    this.state = 'stopped';
  }

  /**
   * Opens the connection and keeps it until it ends.
   *
   * @param {AbortSignal} signal
   */
  async #once(signal) {
    /** @type {import('./types.js').Browser | null} */
    let browser = null;
    const isOver = new AbortController();
    /** @type {Promise<never>} */
    const ended = new Promise((_, reject) => {
      this.#end = (problem) => {
        this.state = 'disconnected';
        reject(new ConnectionEnd(problem));
      };
      signal.addEventListener('abort', () => this.#end('stopped'), { once: true, signal: isOver.signal });
    });
    ended.catch(() => undefined);
    try {
      browser = await this.#openBrowser();
      this.#client = await Promise.race([within(this.#openPage(browser), OPEN_MS), ended]);
      await Promise.race([this.#use(this.#client), ended]);
    } catch (error) {
      this.problem = error instanceof ConnectionEnd ? error.message : causeOf(error);
    } finally {
      isOver.abort();
      this.code = null;
      this.#isLinked = false;
      this.#client = null;
      if (browser) await closeBrowser(browser);
    }
  }

  /** @returns {Promise<import('./types.js').Browser>} */
  async #openBrowser() {
    const userDataDir = path.join(this.settings.folder, 'session');
    await mkdir(userDataDir, { recursive: true, mode: 0o700 });
    for (const name of LOCKS) await rm(path.join(userDataDir, name), { force: true });
    const { browser: executablePath, hasSandbox } = this.settings;
    return this.launch({ executablePath, userDataDir, hasSandbox }).catch(rethrow);
  }

  /**
   * @param {import('./types.js').Browser} browser
   * @returns {Promise<Client>}
   */
  async #openPage(browser) {
    /** @type {import('./types.js').CreateOptions} */
    const options = {
      session: 'bridge',
      browser,
      catchQR: (image, ascii, attempt) => this.#showCode(image, ascii, attempt),
      statusFind: (status) => this.#note(status),
      // `run` waits itself, and meanwhile has the client
      waitForLogin: false,
      autoClose: 0,
      deviceSyncTimeout: SYNC_MS,
      logQR: false,
      disableWelcome: true,
      updatesLog: false,
      // as WhatsApp serves it: a version of the past is refused one day
      whatsappVersion: undefined,
      deviceName: 'CMW Agent',
      poweredBy: 'CMW Agent',
    };
    const client = await this.create(options).catch(rethrow);
    const missing = METHODS.filter((name) => typeof client[name] !== 'function');
    if (missing.length) this.log('the library lacks what the bridge needs', { missing: missing.join(' ') });
    return client;
  }

  /** @param {Client} client */
  async #use(client) {
    client.onMessage((message) => this.onMessage(client, this.own, message));
    client.onStateChange((state) => this.#follow(state));
    await Promise.race([client.waitForLogin(), this.#watchCode(client)]);
    this.code = null;
    this.own = await ownIds(client);
    this.#isLinked = true;
    this.state = 'connected';
    this.problem = '';
    this.log('connected to WhatsApp');
    void this.onConnected();
    await this.#watch(client);
  }

  /**
   * Ends a connection whose code is not renewed any more.
   *
   * @param {Client} client
   */
  async #watchCode(client) {
    this.#codeAt = Date.now();
    while (this.#client === client && !this.#isLinked) {
      await sleep(this.checkEach, undefined, { ref: false });
      const isOld = Date.now() - this.#codeAt > CODE_MS;
      if (this.state === 'scan the code' && isOld) throw new ConnectionEnd('the code was not renewed');
    }
    await new Promise(() => {}); // never ends: only the login may win the race above
  }

  /**
   * Asks the page again and again how it is: one that has crashed reports nothing by itself.
   *
   * @param {Client} client
   */
  async #watch(client) {
    let bad = 0;
    for (let checks = 0; bad < MAX_BAD_CHECKS; checks += 1) {
      await sleep(this.checkEach, undefined, { ref: false });
      if (this.#client !== client) return;
      const state = await within(client.getConnectionState(), ASK_MS).catch(() => 'no answer');
      this.#follow(state);
      bad = state === 'CONNECTED' ? 0 : bad + 1;
      if (checks === MAX_BAD_CHECKS && bad === 0) this.#backOff.reset();
    }
    throw new ConnectionEnd('no connection');
  }

  /** @param {string} state */
  #follow(state) {
    if (!this.#isLinked) return; // it is "unpaired" as long as nobody has scanned the code
    if (ENDINGS.has(state)) this.#end(state);
    else this.state = state === 'CONNECTED' ? 'connected' : 'connecting';
  }

  /** @param {string} status */
  #note(status) {
    if (status === 'notLogged') {
      this.state = 'scan the code';
      this.onUnlinked().catch((error) => this.log('the folder cannot be written', { cause: causeOf(error) }));
    } else if (status === 'qrReadSuccess' || status === 'isLogged') {
      this.code = null;
      this.state = 'connecting';
    } else if (status === 'browserClose' || status === 'serverClose') {
      this.#end(status);
    }
  }

  /**
   * @param {string} image
   * @param {string} ascii
   * @param {number} attempt
   */
  #showCode(image, ascii, attempt) {
    this.state = 'scan the code';
    this.code = { image, attempt };
    this.#codeAt = Date.now();
    this.show(ascii);
    this.log('scan the code with WhatsApp on your phone: Linked devices', { attempt });
  }
}

/**
 * @param {Client} client
 * @returns {Promise<string[]>} The number and the LID, as far as they are known.
 */
async function ownIds(client) {
  const number = (await within(client.getWid(), ASK_MS).catch(() => '')) ?? '';
  if (!number) return [];
  const entry = await within(client.getPnLidEntry(number), ASK_MS).catch(() => null);
  return [...new Set([number, idOf(entry?.lid), idOf(entry?.phoneNumber)])].filter(Boolean);
}

/**
 * @param {any} error
 * @returns {never}
 */
function rethrow(error) {
  // before anybody is connected an error can quote nothing of theirs
  throw new ConnectionEnd(String(error?.message ?? error).split('\n', 1)[0]?.slice(0, 200));
}

/** @param {import('./types.js').Browser} browser */
async function closeBrowser(browser) {
  await within(browser.close(), CLOSE_MS).catch(() => undefined);
  browser.process()?.kill('SIGKILL');
}
