import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';

import { GROUP, KIM, LEE, SECRET, makeFolder, message, startApp, startBridge, until } from './helpers.js';
import { StandIn } from './stand_in.js';

test('a message of a person reaches the app once and is marked as read then', async (t) => {
  const app = await startApp(t);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  const hello = message(KIM, 'hello');
  phone.receive(hello);
  phone.receive(hello);
  phone.receive(message(LEE, 'hello too'));
  await app.untilTaken(2);
  await phone.until('seen', () => phone.seen.length === 2);
  assert.deepEqual(app.taken.map(({ from, body }) => [from, body]), [[KIM, 'hello'], [LEE, 'hello too']]);
  assert.deepEqual(phone.seen, [KIM, LEE]);
  assert.deepEqual(app.taken[0].me, ['491700000000@c.us', '99887766@lid']);
});

test('what came while the app was away reaches it later, in order, also after a restart', async (t) => {
  const app = await startApp(t);
  await app.close();
  const folder = await makeFolder(t);
  const first = await startBridge(t, { appUrl: app.url, folder });
  await until(() => first.bridge.health().connected);
  const texts = ['one', 'two', 'three'];
  for (const text of texts) first.phone.receive(message(KIM, text));
  await until(() => first.bridge.outbox.size.messages === 3);
  await first.stop();
  await app.listen();
  const second = await startBridge(t, { appUrl: app.url, folder });
  await app.untilTaken(3);
  assert.deepEqual(app.taken.map(({ body }) => body), texts);
  await until(() => second.bridge.outbox.size.messages === 0);
  assert.deepEqual(await readdir(path.join(folder, 'outbox')), []);
});

test('a restart repeats no message, though it is unread at WhatsApp still', async (t) => {
  const app = await startApp(t);
  const folder = await makeFolder(t);
  const first = await startBridge(t, { appUrl: app.url, folder });
  await until(() => first.bridge.health().connected);
  const hello = message(KIM, 'hello');
  first.phone.receive(hello);
  await app.untilTaken(1);
  await first.stop();
  const phone = new StandIn({ isWaiting: true });
  phone.unread.set(KIM, [hello, message(KIM, 'and now?')]);
  const second = await startBridge(t, { appUrl: app.url, folder, phone });
  await until(() => phone.client !== null);
  phone.connect();
  await app.untilTaken(2);
  await second.bridge.intake.idle();
  assert.deepEqual(app.taken.map(({ body }) => body), ['hello', 'and now?']);
});

test('what was written before the phone was linked is none of the bridge’s', async (t) => {
  const app = await startApp(t);
  const phone = new StandIn({ isLinked: false });
  phone.unread.set(KIM, [message(KIM, 'last week', { timestamp: Date.now() / 1000 - 600_000 })]);
  const folder = await makeFolder(t);
  const { bridge, url } = await startBridge(t, { appUrl: app.url, phone, folder });
  await phone.until('opened', () => phone.client !== null);
  await until(() => bridge.health()['state'] === 'scan the code');
  phone.showCode();
  assert.equal((await fetch(`${url}/health`)).status, 503);
  phone.scan();
  await until(() => bridge.health().connected);
  phone.receive(message(KIM, 'now'));
  await app.untilTaken(1);
  assert.equal(app.taken[0].body, 'now');
  assert.equal((await fetch(`${url}/health`)).status, 200);
  const since = Number(await readFile(path.join(folder, 'since'), 'utf8'));
  assert.ok(Date.now() / 1000 - since < 3600);
});

test('after a restart it is still known when the phone was linked', async (t) => {
  const app = await startApp(t);
  const folder = await makeFolder(t);
  const now = Math.floor(Date.now() / 1000);
  await writeFile(path.join(folder, 'since'), String(now - 1000));
  const phone = new StandIn({ isWaiting: true });
  phone.unread.set(KIM, [2000, 500].map((ago) => message(KIM, `${ago} ago`, { timestamp: now - ago })));
  await startBridge(t, { appUrl: app.url, folder, phone });
  await until(() => phone.client !== null);
  phone.connect();
  await app.untilTaken(1);
  assert.deepEqual(app.taken.map(({ body }) => body), ['500 ago']);
});

test('the bridge listens to messages and states alone, so that floods of anything else cost nothing', async (t) => {
  const { phone, bridge } = await startBridge(t);
  await until(() => bridge.health().connected);
  assert.deepEqual(phone.listening, ['onMessage', 'onStateChange']);
});

test('what finds no room stays unread, and comes when there is room', async (t) => {
  const app = await startApp(t);
  await app.close();
  const { phone, bridge } = await startBridge(t, { appUrl: app.url, env: { BRIDGE_MAX_WAITING: '10' } });
  await until(() => bridge.health().connected);
  const texts = ['one', 'two', 'three'];
  for (const text of texts) phone.receive(message(KIM, text)); // one chat may have a tenth
  for (let guest = 0; guest < 9; guest += 1) phone.receive(message(`4930${guest}@c.us`, 'hello'));
  phone.receive(message(LEE, 'eleventh'));
  await bridge.intake.idle();
  assert.equal(bridge.health()['chats_left_unread'], 2);
  assert.equal(bridge.outbox.size.messages, 10);
  await app.listen();
  await app.untilTaken(13);
  await until(() => phone.unread.size === 0);
  assert.deepEqual(app.taken.filter(({ from }) => from === KIM).map(({ body }) => body), texts);
  assert.equal(new Set(app.taken.map(({ id }) => id)).size, 13);
});

test('a later message does not overtake one that was left unread', async (t) => {
  const app = await startApp(t);
  await app.close();
  const { phone, bridge } = await startBridge(t, { appUrl: app.url, env: { BRIDGE_MAX_WAITING: '10' } });
  await until(() => bridge.health().connected);
  await bridge.intake.idle();
  for (const text of ['one', 'two']) phone.receive(message(KIM, text));
  await bridge.intake.idle();
  /** @type {() => void} */
  let go = () => {};
  phone.listed = new Promise((resolve) => void (go = resolve));
  await app.listen();
  await until(() => app.taken.length === 1 && bridge.outbox.size.messages === 0);
  phone.receive(message(KIM, 'three'));
  await bridge.intake.idle();
  assert.deepEqual(phone.seen, []);
  go();
  await app.untilTaken(3);
  await phone.until('seen', () => phone.seen.length > 0);
  assert.deepEqual(app.taken.map(({ body }) => body), ['one', 'two', 'three']);
});

test('a chat of which a message waits for the app is not marked as read', async (t) => {
  const app = await startApp(t);
  app.answers = new Map([['fails', 500]]);
  await app.close();
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  phone.receive(message(KIM, 'hello'));
  phone.receive(message(KIM, 'fails'));
  await bridge.intake.idle();
  await app.listen();
  await until(() => app.given.filter((status) => status === 500).length > 1);
  assert.equal(app.taken.length, 1);
  assert.ok(phone.unread.has(KIM));
  app.answers.clear();
  await app.untilTaken(2);
  await until(() => !phone.unread.has(KIM));
});

test('a person whom WhatsApp names by a LID is known by one address for good', async (t) => {
  const app = await startApp(t);
  const folder = await makeFolder(t);
  const { phone, bridge, stop } = await startBridge(t, { appUrl: app.url, folder });
  await until(() => bridge.health().connected);
  phone.numbers.set('77@lid', KIM);
  phone.receive(message('77@lid', 'by number'));
  phone.receive(message('88@lid', 'no number yet'));
  phone.receive(message(GROUP, 'in a group', { author: '77@lid' }));
  await app.untilTaken(3);
  await phone.until('seen', () => phone.seen.includes('77@lid'));
  await stop();
  const later = await startBridge(t, { appUrl: app.url, folder });
  await until(() => later.bridge.health().connected);
  later.phone.numbers.set('88@lid', LEE);
  later.phone.receive(message('88@lid', 'and again'));
  await app.untilTaken(4);
  assert.deepEqual(app.taken.map(({ from, sender }) => [from, sender.id]), [
    [KIM, KIM],
    ['88@lid', '88@lid'],
    [GROUP, KIM],
    ['88@lid', '88@lid'],
  ]);
});

test('a wrong secret loses nothing and is shown', async (t) => {
  const app = await startApp(t, 'another secret');
  const { phone, bridge, url, logged } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  phone.receive(message(KIM, 'hello'));
  await app.untilGiven(2);
  const health = /** @type {{ app: string }} */ (await (await fetch(`${url}/health`)).json());
  assert.equal(health.app, 'http_401');
  assert.equal(bridge.outbox.size.messages, 1);
  app.secret = SECRET;
  await app.untilTaken(1);
  assert.ok(!logged.join().includes('hello') && !logged.join().includes('491511000001'));
});

test('what one process has stored nobody else on the machine can read', async (t) => {
  const folder = path.join(await makeFolder(t), 'data');
  const { phone, bridge } = await startBridge(t, { folder });
  await until(() => bridge.health().connected);
  phone.receive(message(KIM, 'hello'));
  await until(() => bridge.outbox.size.messages === 1);
  const { statSync } = await import('node:fs');
  const [name = ''] = await readdir(path.join(folder, 'outbox'));
  assert.equal(statSync(folder).mode & 0o077, 0);
  assert.equal(statSync(path.join(folder, 'outbox', name)).mode & 0o077, 0);
  assert.ok(!(await readFile(path.join(folder, 'seen'), 'utf8')).includes('4915'));
});
