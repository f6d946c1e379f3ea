import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import { causeOf } from './logs.js';
import { idOf, isChat } from './messages.js';
import { PAGE_HEADERS, page } from './page.js';
import { RequestError, readJson, requireToken } from './requests.js';
import { SendError } from './sending.js';

const MAX_TEXT_CHARS = 65_536;
const MAX_TEXT_BYTES = 500_000;
const MAX_CONNECTIONS = 128;
const HEADERS_MS = 10_000;
const REQUEST_MS = 60_000;
const COMMON = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' };

/** @type {Record<Exclude<import('./sending.js').SendProblem, 'uncertain'>, [number, string]>} */
const PROBLEMS = {
  disconnected: [503, 'The bridge is not connected to WhatsApp.'],
  busy: [503, 'Too much waits to be sent.'],
  unknown_chat: [422, 'WhatsApp does not know this chat.'],
};

/**
 * @typedef {object} Services
 * @property {string} token
 * @property {number} maxFileBytes
 * @property {import('./sending.js').Sending} sending
 * @property {import('./connection.js').Connection} connection
 * @property {() => { connected: boolean } & Record<string, unknown>} health
 * @property {import('./logs.js').Log} log
 */

/**
 * @callback Route
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 * @param {Services} services
 * @returns {Promise<void>}
 */

/** @type {Record<string, Route>} */
const ROUTES = {
  'GET /health': async (_request, response, { health }) => {
    const found = health();
    reply(response, found.connected ? 200 : 503, found);
  },
  'GET /qr': async (request, response, { token, connection }) => {
    requireToken(request, token, { byPassword: true });
    response.writeHead(200, { ...COMMON, ...PAGE_HEADERS }).end(page(connection.state, connection.code));
  },
  'POST /send/text': async (request, response, { token, sending }) => {
    requireToken(request, token);
    const fields = await readJson(request, MAX_TEXT_BYTES);
    const text = textOf(fields, 'message', MAX_TEXT_CHARS);
    const id = await sending.text(chatOf(fields), text, goneSignal(response));
    reply(response, 200, { id: idOf(id) });
  },
  'POST /send/file': async (request, response, { token, sending, maxFileBytes }) => {
    requireToken(request, token);
    const fields = await readJson(request, Math.ceil(maxFileBytes * 1.34) + MAX_TEXT_BYTES);
    const file = {
      base64: textOf(fields, 'mediaBase64', Infinity),
      type: textOf(fields, 'mediaMimetype', 100),
      filename: textOf(fields, 'mediaFilename', 255),
      caption: fields['caption'] === undefined ? '' : textOf(fields, 'caption', MAX_TEXT_CHARS),
    };
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(file.base64) || !/^[\w.+-]+\/[\w.+-]+$/.test(file.type)) {
      throw new RequestError(422, 'The request must have mediaBase64 in base64, and mediaMimetype.');
    }
    reply(response, 200, { id: idOf(await sending.file(chatOf(fields), file, goneSignal(response))) });
  },
  'POST /typing/start': (request, response, services) => typing(request, response, services, true),
  'POST /typing/stop': (request, response, services) => typing(request, response, services, false),
};
const PATHS = new Set(Object.keys(ROUTES).map((route) => route.split(' ')[1]));

/**
 * Serves the app's requests, the page with the code, and the bridge's health.
 *
 * @param {Services} services
 * @returns {import('node:http').Server} It does not listen yet.
 */
export function makeServer(services) {
  const options = { headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, maxHeaderSize: 8192 };
  const server = createServer(options, (request, response) => {
    serve(request, response, services).catch((error) => refuse(response, error, services.log));
  });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

/** @type {Route} */
async function serve(request, response, services) {
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const route = ROUTES[`${request.method} ${path}`];
  if (route) return route(request, response, services);
  throw PATHS.has(path) ? new RequestError(405, 'This address has another method.') : new RequestError(404, 'There is nothing here.');
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 * @param {Services} services
 * @param {boolean} isOn
 */
async function typing(request, response, { token, sending }, isOn) {
  requireToken(request, token);
  await sending.typing(chatOf(await readJson(request, MAX_TEXT_BYTES)), isOn);
  reply(response, 200, { success: true });
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {unknown} error
 * @param {import('./logs.js').Log} log
 */
function refuse(response, error, log) {
  if (response.headersSent || (error instanceof SendError && error.problem === 'uncertain')) {
    // neither "sent" nor "not sent" would be true, and by a status the app would send it again
    response.destroy();
    return;
  }
  const id = randomBytes(4).toString('hex');
  if (error instanceof RequestError) {
    reply(response, error.status, { error: error.message, id }, error.headers);
  } else if (error instanceof SendError && error.problem !== 'uncertain') {
    const [status, sentence] = PROBLEMS[error.problem];
    reply(response, status, { error: sentence, id }, status === 503 ? { 'retry-after': '5' } : {});
  } else {
    log('a request failed', { id, cause: causeOf(error) });
    response.destroy();
  }
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {number} status
 * @param {object} value
 * @param {Record<string, string>} [headers]
 */
function reply(response, status, value, headers = {}) {
  response.writeHead(status, { ...COMMON, 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

/** @param {import('node:http').ServerResponse} response */
function goneSignal(response) {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  return gone.signal;
}

/** @param {Record<string, unknown>} fields */
function chatOf(fields) {
  const chat = textOf(fields, 'chatId', 120);
  if (!isChat(chat)) throw new RequestError(422, 'The request must have chatId, such as 491511234567@c.us.');
  return chat;
}

/**
 * @param {Record<string, unknown>} fields
 * @param {string} name
 * @param {number} max
 */
function textOf(fields, name, max) {
  const value = fields[name];
  if (typeof value !== 'string' || !value || value.length > max) {
    throw new RequestError(422, `The request must have ${name}, a text${max === Infinity ? '' : ` of at most ${max} characters`}.`);
  }
  return value;
}
