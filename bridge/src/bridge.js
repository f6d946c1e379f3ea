import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';

import { Addresses } from './addresses.js';
import { Connection } from './connection.js';
import { Delivery } from './delivery.js';
import { writeWhole } from './files.js';
import { Intake } from './intake.js';
import { causeOf } from './logs.js';
import { Outbox } from './outbox.js';
import { SeenIds } from './seen_ids.js';
import { Sending } from './sending.js';
import { makeServer } from './server.js';
import { Webhook } from './webhook.js';
import { within } from './waiting.js';

const SEEN_MS = 10_000;
const CLOSE_MS = 20_000;
const CATCH_UP_MS = 60_000;

/** WhatsApp on one side, the app on the other. */
export class Bridge {
  #since = 0;
  #isCatchingUp = false;
  #isCatchUpWanted = false;

  /**
   * @param {object} parts
   * @param {import('./settings.js').Settings} parts.settings
   * @param {Outbox} parts.outbox
   * @param {SeenIds} parts.seen
   * @param {Addresses} parts.addresses
   * @param {number} parts.since
   * @param {import('./types.js').Create} parts.create
   * @param {import('./types.js').Launch} parts.launch
   * @param {(text: string) => void} parts.show
   * @param {import('./logs.js').Log} parts.log
   * @param {{ pause?: number, check?: number }} [parts.times] Milliseconds of first pauses, and between checks.
   */
  constructor({ settings, outbox, seen, addresses, since, create, launch, show, log, times = {} }) {
    this.settings = settings;
    this.log = log;
    this.outbox = outbox;
    this.seen = seen;
    this.addresses = addresses;
    this.#since = since;
    this.webhook = new Webhook(settings);
    this.intake = new Intake({
      outbox,
      seen,
      addresses,
      maxFileBytes: settings.maxFileBytes,
      since: () => this.#since,
      isConnected: (client) => this.connection.client === client,
      onAdded: () => this.delivery.notify(),
      log,
    });
    this.delivery = new Delivery({
      outbox,
      webhook: this.webhook,
      onTaken: (chat) => void this.#taken(chat),
      keepSeconds: settings.keepSeconds,
      log,
      ...(times.pause === undefined ? {} : { firstPause: times.pause }),
    });
    this.connection = new Connection({
      create,
      launch,
      settings,
      onMessage: (client, own, message) => this.intake.offer(client, own, message),
      onConnected: () => this.#catchUp(),
      onUnlinked: () => this.#begin(),
      show,
      log,
      ...(times.pause === undefined ? {} : { firstPause: times.pause }),
      ...(times.check === undefined ? {} : { checkEach: times.check }),
    });
    this.sending = new Sending({
      client: () => this.connection.client,
      idOf: (address) => addresses.idOf(address),
    });
    const { token, maxFileBytes } = settings;
    const { sending, connection } = this;
    this.server = makeServer({ token, maxFileBytes, sending, connection, health: () => this.health(), log });
  }

  /**
   * Reads what an earlier process has left in the folder.
   *
   * @param {Omit<ConstructorParameters<typeof Bridge>[0], 'outbox' | 'seen' | 'addresses' | 'since'>} parts
   * @returns {Promise<Bridge>}
   */
  static async open(parts) {
    const { folder } = parts.settings;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const since = await readFile(path.join(folder, 'since'), 'utf8').catch(() => '');
    return new Bridge({
      ...parts,
      outbox: await Outbox.open(path.join(folder, 'outbox'), parts.settings),
      seen: await SeenIds.open(path.join(folder, 'seen')),
      addresses: await Addresses.open(path.join(folder, 'addresses')),
      since: Number(since) || Math.floor(Date.now() / 1000),
    });
  }

  /**
   * Runs until it is told to end; everything is on the disk then.
   *
   * @param {AbortSignal} signal
   * @throws {Error} The port is not free.
   */
  async run(signal) {
    const { host, port } = this.settings;
    this.server.listen(port, host);
    await once(this.server, 'listening');
    this.log('the bridge listens', { port: /** @type {import('node:net').AddressInfo} */ (this.server.address()).port });
    const timer = setInterval(() => void this.#catchUpWhatWasLeft(), CATCH_UP_MS);
    await Promise.all([this.connection.run(signal), this.delivery.run(signal)]);
    clearInterval(timer);
    this.server.close();
    this.server.closeAllConnections();
    await within(this.intake.idle(), CLOSE_MS).catch(() => undefined);
    await this.seen.close();
  }

  /** @returns {{ connected: boolean } & Record<string, unknown>} How the bridge is; nothing of anybody's. */
  health() {
    const { connection, delivery, webhook, intake, outbox } = this;
    return {
      connected: connection.client !== null,
      state: connection.state,
      problem: connection.problem,
      app: webhook.lastAnswer,
      waiting: outbox.size,
      chats_left_unread: intake.left,
      refused: delivery.refused,
      expired: delivery.expired,
    };
  }

  /** Notes that a phone is linked from now on: what was written to it before is none of the bridge's. */
  async #begin() {
    this.#since = Math.floor(Date.now() / 1000);
    await writeWhole(path.join(this.settings.folder, 'since'), String(this.#since));
  }

  /** Takes what is unread at WhatsApp; once more where this is asked for meanwhile. */
  async #catchUp() {
    this.#isCatchUpWanted = true;
    if (this.#isCatchingUp) return;
    this.#isCatchingUp = true;
    while (this.#isCatchUpWanted && this.connection.client) {
      this.#isCatchUpWanted = false;
      await this.#takeUnread(this.connection.client).catch((error) =>
        this.log('unread messages could not be read', { cause: causeOf(error) }),
      );
    }
    this.#isCatchingUp = false;
  }

  /** @param {import('./types.js').Client} client */
  async #takeUnread(client) {
    for (const chat of await this.intake.catchUp(client, this.connection.own)) {
      // what was taken before has had no chance to be marked as read
      this.#markRead(client, chat, await this.addresses.addressOf(client, chat));
    }
  }

  /** @param {string} address Of a chat of which the app has taken a message. */
  async #taken(address) {
    const { client } = this.connection;
    if (client) this.#markRead(client, this.addresses.idOf(address), address);
    await this.#catchUpWhatWasLeft();
  }

  async #catchUpWhatWasLeft() {
    const hasRoom = this.outbox.size.messages < this.settings.maxWaiting / 2;
    if (this.intake.left && hasRoom) await this.#catchUp();
  }

  /**
   * @param {import('./types.js').Client} client
   * @param {string} chat
   * @param {string} address
   */
  #markRead(client, chat, address) {
    if (!this.intake.hasPassedOn(chat, address)) return;
    within(client.sendSeen(chat), SEEN_MS).catch((error) =>
      this.log('a chat could not be marked as read', { cause: causeOf(error) }),
    );
  }
}
