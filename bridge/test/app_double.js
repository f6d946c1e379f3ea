import { createHmac } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';

const WAIT_MS = 30_000; // reached by a failure alone

/** The app's address for bridges: it takes what is signed, and remembers it. */
export class AppDouble {
  /** @type {number[]} The next statuses; 200 when it is empty. */
  plan = [];
  /** @type {any[]} The bodies that it has answered with 200. */
  taken = [];
  /** @type {number[]} All statuses that it has given. */
  given = [];
  #events = new EventEmitter();
  #server = createServer((request, response) => void this.#answer(request, response));
  port = 0;
  /** @type {Map<string, number>} What it answers to texts, before the plan. */
  answers = new Map();
  /** What it answers with. */
  answer = '{"status":"accepted"}';

  /** @param {string} secret */
  constructor(secret) {
    this.secret = secret;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async listen() {
    this.#server.listen(this.port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = /** @type {import('node:net').AddressInfo} */ (this.#server.address()).port;
  }

  async close() {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  /** @param {number} count */
  async untilTaken(count) {
    while (this.taken.length < count) await once(this.#events, 'answered', { signal: AbortSignal.timeout(WAIT_MS) });
  }

  /** @param {number} count */
  async untilGiven(count) {
    while (this.given.length < count) await once(this.#events, 'answered', { signal: AbortSignal.timeout(WAIT_MS) });
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async #answer(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts);
    const signature = `sha256=${createHmac('sha256', this.secret).update(body).digest('hex')}`;
    const isSigned = request.headers['x-hub-signature-256'] === signature && request.url === '/whatsapp/incoming';
    const message = isSigned ? JSON.parse(body.toString()) : {};
    const status = isSigned ? (this.answers.get(message.body) ?? this.plan.shift() ?? 200) : 401;
    if (status === 200) this.taken.push(message);
    this.given.push(status);
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': this.answer.length }).end(this.answer);
    this.#events.emit('answered');
  }
}
