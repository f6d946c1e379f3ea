import { EventEmitter, once } from 'node:events';

const WAIT_MS = 30_000; // reached by a failure alone

/**
 * WhatsApp and one phone, for tests: `create` gives a client with the library's methods and events.
 *
 * @typedef {import('../src/types.js').Message} Message
 */
export class StandIn {
  /** Emits `sent`, `seen`, `typing`, `opened` and `closed` (a browser). */
  events = new EventEmitter();
  /** @type {{ chat: string, text?: string, file?: string, caption?: string | undefined }[]} */
  sent = [];
  /** @type {string[]} */
  seen = [];
  /** @type {string[]} */
  typing = [];
  /** @type {Map<string, Message[]>} By chat. */
  unread = new Map();
  /** @type {Map<string, string>} Data URLs by a message's id; `crash` for a file that brings the browser down, and before a URL once. */
  files = new Map();
  /** @type {string[]} Files that were asked for. */
  fetched = [];
  /** @type {Map<string, string>} Numbers by LID. */
  numbers = new Map();
  /** @type {(() => Promise<void>)[]} What the next sends do before they succeed. */
  plan = [];
  /** @type {Error[]} What the next calls of `create` throw. */
  failures = [];
  /** @type {string[]} The events that the bridge listens to. */
  listening = [];
  /** What a list of chats waits for. */
  listed = Promise.resolve();
  /** @type {import('../src/types.js').CreateOptions[]} Of each call of `create`. */
  options = [];
  state = 'CONNECTED';
  /** How many run. */
  browsers = 0;
  /** @type {Client | null} */
  client = null;

  /** @param {{ isLinked?: boolean, isWaiting?: boolean }} [start] Whether the phone is linked, and connects by itself. */
  constructor({ isLinked = true, isWaiting = false } = {}) {
    this.isLinked = isLinked;
    this.isWaiting = isWaiting;
  }

  /** @type {import('../src/types.js').Create} */
  create = async (options) => {
    this.options.push(options);
    const failure = this.failures.shift();
    if (failure) throw failure;
    this.client = new Client(this, options);
    return this.client.asLibrary();
  };

  /** @type {import('../src/types.js').Launch} */
  launch = async () => {
    this.browsers += 1;
    return {
      close: async () => void this.events.emit('closed'),
      process: () => {
        this.browsers -= 1;
        return null;
      },
    };
  };

  /**
   * Receives a message: who is connected hears of it, and it is unread until its chat is marked as read.
   *
   * @param {Message} message
   */
  receive(message) {
    const chat = /** @type {string} */ (message.from);
    this.unread.set(chat, [...(this.unread.get(chat) ?? []), message]);
    this.client?.events.emit('onMessage', message);
  }

  /** Shows a code. */
  showCode(attempt = 1) {
    this.client?.options.catchQR(`data:image/png;base64,${btoa(`code ${attempt}`)}`, `[code ${attempt}]`, attempt, 'code');
  }

  /** Is told that the code was scanned. */
  scan() {
    this.isLinked = true;
    this.client?.events.emit('login');
  }

  /** Lets a phone that is linked connect. */
  connect() {
    this.isWaiting = false;
    this.client?.events.emit('login');
  }

  /** @param {string} state */
  change(state) {
    this.state = state;
    this.client?.events.emit('onStateChange', state);
  }

  /** Ends the browser, as a crash does. */
  crash() {
    if (this.client) this.client.isOver = true;
    this.client?.options.statusFind('browserClose');
  }

  /**
   * @param {string} event
   * @param {() => boolean} isThere
   */
  async until(event, isThere) {
    while (!isThere()) await once(this.events, event, { signal: AbortSignal.timeout(WAIT_MS) });
  }
}

class Client {
  events = new EventEmitter();
  isOver = false;

  /**
   * @param {StandIn} phone
   * @param {import('../src/types.js').CreateOptions} options
   */
  constructor(phone, options) {
    this.phone = phone;
    this.options = options;
  }

  /** @returns {import('../src/types.js').Client} */
  asLibrary() {
    const { phone } = this;
    return {
      onMessage: (callback) => this.#listen('onMessage', callback),
      onStateChange: (callback) => {
        const listening = this.#listen('onStateChange', callback);
        if (!phone.isLinked) this.events.emit('onStateChange', 'UNPAIRED');
        return listening;
      },
      waitForLogin: () => this.#login(),
      getConnectionState: async () => phone.state,
      getWid: async () => '491700000000@c.us',
      getPnLidEntry: async (id) => {
        if (id === '491700000000@c.us') return { lid: { $1: '99887766@lid' }, phoneNumber: { _serialized: id } };
        const number = phone.numbers.get(id);
        return number ? { phoneNumber: { _serialized: number } } : {};
      },
      listChats: async () => {
        await phone.listed;
        return [...phone.unread].map(([id, found]) => ({ id: { _serialized: id }, unreadCount: found.length }));
      },
      getMessages: async (chat, { count }) => (phone.unread.get(chat) ?? []).slice(-count),
      downloadMedia: async (id) => {
        phone.fetched.push(id);
        const url = phone.files.get(id);
        if (url?.startsWith('crash')) {
          phone.crash();
          if (url !== 'crash') phone.files.set(id, url.replace('crash ', ''));
        }
        if (this.isOver || !url) throw new Error('no media found');
        return url;
      },
      sendText: (chat, text) => this.#send({ chat, text }),
      sendFile: (chat, file, { caption }) => this.#send({ chat, file, caption }),
      sendSeen: async (chat) => {
        phone.unread.delete(chat);
        phone.seen.push(chat);
        phone.events.emit('seen', chat);
      },
      startTyping: async (chat) => this.#typing(`start ${chat}`),
      stopTyping: async (chat) => this.#typing(`stop ${chat}`),
    };
  }

  /**
   * @param {string} name
   * @param {(value: any) => void} callback
   */
  #listen(name, callback) {
    this.phone.listening.push(name);
    this.events.on(name, callback);
    return { dispose: () => void this.events.off(name, callback) };
  }

  async #login() {
    if (!this.phone.isLinked) {
      this.options.statusFind('notLogged');
      this.phone.events.emit('opened');
      await once(this.events, 'login');
      this.options.statusFind('qrReadSuccess');
    } else {
      this.options.statusFind('isLogged');
      this.phone.events.emit('opened');
      if (this.phone.isWaiting) await once(this.events, 'login');
    }
    this.options.statusFind('inChat');
    return true;
  }

  /** @param {StandIn['sent'][number]} message */
  async #send(message) {
    const next = this.phone.plan.shift();
    if (next) await next();
    this.phone.sent.push(message);
    this.phone.events.emit('sent', message);
    return { id: { _serialized: `true_${message.chat}_SENT${this.phone.sent.length}` } };
  }

  /** @param {string} what */
  #typing(what) {
    this.phone.typing.push(what);
    this.phone.events.emit('typing', what);
  }
}
