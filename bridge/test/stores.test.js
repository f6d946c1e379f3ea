import assert from 'node:assert/strict';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';

import { Delivery } from '../src/delivery.js';
import { Outbox } from '../src/outbox.js';
import { SeenIds } from '../src/seen_ids.js';
import { SettingError, readSettings } from '../src/settings.js';
import { BackOff } from '../src/waiting.js';
import { Webhook } from '../src/webhook.js';
import { KIM, LEE, SECRET, TOKEN, makeFolder, startApp, until } from './helpers.js';

const LIMITS = { maxWaiting: 20, maxWaitingBytes: 1000 };
const ENV = { CMW_WHATSAPP_SECRET: SECRET, CMW_WHATSAPP_BRIDGE_TOKEN: TOKEN };

test('the outbox is the same after a restart, and half a file is none', async (t) => {
  const folder = await makeFolder(t);
  const first = await Outbox.open(folder, LIMITS);
  await first.add(KIM, 'id-1', Buffer.from('{"a":"\\n"}'));
  await first.add(LEE, 'id-2', Buffer.from('{}'));
  await writeFile(path.join(folder, 'x.draft'), 'half');
  const second = await Outbox.open(folder, LIMITS);
  assert.deepEqual([second.size, second.entries()], [first.size, first.entries()]);
  assert.ok(second.has('id-1') && second.entriesOf(KIM).length === 1);
  const [entry] = second.entries();
  assert.ok(entry);
  assert.deepEqual(await second.read(entry), { chat: KIM, body: Buffer.from('{"a":"\\n"}') });
  await Promise.all(['id-3', 'id-4', 'id-5'].map((id) => second.add(KIM, id, Buffer.from('{}'))));
  assert.equal(new Set(second.entries().map(({ at }) => at)).size, 5);
  for (const each of second.entries()) await second.remove(each);
  assert.deepEqual(second.size, { messages: 0, bytes: 0 });
});

test('the outbox is bounded by messages, by bytes and for each chat', async (t) => {
  const outbox = await Outbox.open(await makeFolder(t), LIMITS);
  assert.equal(outbox.hasRoom(KIM, 501), false);
  await outbox.add(KIM, 'id-1', Buffer.from('{}'));
  assert.equal(outbox.hasRoom(KIM, 10), true);
  await outbox.add(KIM, 'id-2', Buffer.from('{}'));
  assert.equal(outbox.hasRoom(KIM, 10), false);
  assert.equal(outbox.hasRoom(LEE, 10), true);
  await outbox.add(LEE, 'id-3', Buffer.alloc(450));
  assert.equal(outbox.hasRoom('another@c.us', 480), false);
  assert.equal(outbox.hasRoom('another@c.us', 400), true);
});

test('a message that nobody would answer any more is given up and counted', async (t) => {
  const app = await startApp(t);
  const outbox = await Outbox.open(await makeFolder(t), LIMITS);
  await outbox.add(KIM, 'id-1', Buffer.from('{}'));
  const webhook = new Webhook({ appUrl: app.url, secret: SECRET });
  const delivery = new Delivery({ outbox, webhook, onTaken: () => {}, keepSeconds: -1, log: () => {} });
  const end = new AbortController();
  const done = delivery.run(end.signal);
  await until(() => outbox.size.messages === 0);
  end.abort();
  await done;
  assert.deepEqual([delivery.expired, app.given], [1, []]);
});

test('ids are known after a restart, the newest ones, in a file that does not grow for ever', async (t) => {
  const file = path.join(await makeFolder(t), 'seen');
  const names = Array.from({ length: 9 }, (_, place) => String(place).repeat(32));
  const first = await SeenIds.open(file, 3);
  for (const name of names) await first.add(name);
  await first.close();
  assert.ok((await readFile(file, 'utf8')).length <= 6 * 33);
  await appendFile(file, 'torn');
  const second = await SeenIds.open(file, 3);
  await second.add('a'.repeat(32));
  await second.close();
  const third = await SeenIds.open(file, 3);
  assert.deepEqual([...names, 'a'.repeat(32)].filter((name) => third.has(name)), [...names.slice(7), 'a'.repeat(32)]);
  await third.close();
});

test('pauses double up to the longest, and chance shortens each by half at most', () => {
  const pauses = (/** @type {number} */ chance) => {
    const backOff = new BackOff({ first: 10, longest: 60, chance: () => chance });
    return Array.from({ length: 5 }, () => backOff.next());
  };
  assert.deepEqual(pauses(1), [10, 20, 40, 60, 60]);
  assert.deepEqual(pauses(0), [5, 10, 20, 30, 30]);
});

test('a setting that is missing or wrong is named in a sentence', () => {
  const wrong = {
    CMW_WHATSAPP_SECRET: ' , ',
    CMW_WHATSAPP_BRIDGE_TOKEN: 'short',
    BRIDGE_APP_URL: 'ftp://x',
    BRIDGE_PORT: '70000',
    BRIDGE_SANDBOX: 'maybe',
    BRIDGE_MAX_WAITING: '-1',
    BRIDGE_MAX_WAITING_MB: '1.5',
    CMW_MAX_FILE_BYTES: 'x',
    CMW_WHATSAPP_WINDOW_SECONDS: '-1',
  };
  for (const [name, value] of Object.entries(wrong)) {
    assert.throws(
      () => readSettings({ ...ENV, [name]: value }),
      (error) => error instanceof SettingError && error.message.startsWith(`${name} must `),
    );
  }
  assert.equal(readSettings({ ...ENV, CMW_WHATSAPP_SECRET: ' new , old' }).secret, 'new');
});

test('the largest file fits into its chat’s share of the outbox', async (t) => {
  const env = { ...ENV, CMW_MAX_FILE_BYTES: '1000000000', BRIDGE_MAX_WAITING_MB: '10' };
  const settings = readSettings(env);
  const outbox = await Outbox.open(await makeFolder(t), settings);
  assert.equal(outbox.hasRoom(KIM, Math.ceil((settings.maxFileBytes / 3) * 4) + 500_000), true);
});
