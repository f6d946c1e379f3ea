import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GROUP, KIM, LEE, message, startApp, startBridge, until } from './helpers.js';
import { isOfPerson } from '../src/messages.js';

const PICTURE = { type: 'image', mimetype: 'image/jpeg', body: '/9j/small', caption: 'look', size: 5 };

test('what is no message of a person is left out', () => {
  const others = {
    'own echo': { fromMe: true },
    'own echo by its id': { id: `true_${KIM}_A` },
    status: { from: 'status@broadcast', isStatusV3: true },
    'status by its chat': { from: 'status@broadcast' },
    channel: { from: '12036300@newsletter' },
    'list of recipients': { broadcast: true },
    'group notice': { from: GROUP, type: 'gp2' },
    notice: { isNotification: true },
    encryption: { type: 'e2e_notification' },
    call: { type: 'call_log' },
    'deleted message': { type: 'revoked' },
    reaction: { type: 'reaction' },
    'unreadable yet': { type: 'ciphertext' },
    'id with a line': { id: 'false_x\n' },
    'no id': { id: /** @type {any} */ (undefined) },
    'no chat': { from: /** @type {any} */ (null) },
    'chat that is none': { from: '../../x@c.us' },
  };
  for (const [what, more] of Object.entries(others)) {
    assert.equal(isOfPerson({ ...message(KIM, 'hello'), ...more }), false, what);
  }
  assert.equal(isOfPerson(message(KIM, 'hello')), true);
  assert.equal(isOfPerson(message('7@lid', 'hello')), true);
});

test('a file comes with its message, and the small picture of it does not', async (t) => {
  const app = await startApp(t);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  const picture = message(KIM, '', PICTURE);
  phone.files.set(picture.id, 'data:image/jpeg;base64,aGVsbG8=');
  phone.receive(picture);
  await app.untilTaken(1);
  const { mediaBase64, mediaMimetype, caption, body, hasMedia } = app.taken[0];
  assert.deepEqual([mediaBase64, mediaMimetype, caption, body, hasMedia], ['aGVsbG8=', 'image/jpeg', 'look', undefined, true]);
});

test('a file that is too large is not fetched, and one whose size was a lie is not passed on', async (t) => {
  const app = await startApp(t);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url, env: { CMW_MAX_FILE_BYTES: '2000' } });
  await until(() => bridge.health().connected);
  const honest = message(KIM, '', { ...PICTURE, size: 2001 });
  const liar = message(LEE, '', { ...PICTURE, size: 5 });
  for (const { id } of [honest, liar]) phone.files.set(id, `data:image/jpeg;base64,${'A'.repeat(3000)}`);
  phone.receive(honest);
  phone.receive(liar);
  await app.untilTaken(2);
  assert.deepEqual(phone.fetched, [liar.id]);
  assert.deepEqual(app.taken.map(({ mediaBase64, mediaSize }) => [mediaBase64, mediaSize]), [[undefined, 2001], [undefined, 2250]]);
});

test('a file that the app finds too large comes without it, with its size', async (t) => {
  const app = await startApp(t);
  app.plan = [413];
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  const picture = message(KIM, '', PICTURE);
  phone.files.set(picture.id, 'data:image/jpeg;base64,aGVsbG8=');
  phone.receive(picture);
  await app.untilTaken(1);
  assert.deepEqual([app.taken[0].mediaBase64, app.taken[0].mediaSize], [undefined, 5]);
});

test('a file that does not come leaves its message whole', async (t) => {
  const app = await startApp(t);
  const { phone, bridge, logged } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  phone.receive(message(KIM, '', PICTURE));
  await app.untilTaken(1);
  assert.deepEqual([app.taken[0].caption, app.taken[0].mediaBase64, phone.fetched.length], ['look', undefined, 3]);
  assert.ok(logged.join().includes('a file could not be fetched'));
});

test('a file that brings the browser down each time is given up, and its message passed on', async (t) => {
  const app = await startApp(t);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  const bomb = message(KIM, '', PICTURE);
  phone.files.set(bomb.id, 'crash');
  phone.receive(bomb);
  phone.receive(message(LEE, 'hello'));
  await app.untilTaken(2);
  await until(() => bridge.health().connected && phone.unread.size === 0);
  const passed = app.taken.find(({ from }) => from === KIM);
  assert.deepEqual([passed.caption, passed.mediaBase64, phone.fetched.length], ['look', undefined, 3]);
});

test('a file that does not come because the connection ends comes afterwards', async (t) => {
  const app = await startApp(t);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  const picture = message(KIM, '', PICTURE);
  phone.files.set(picture.id, 'crash data:image/jpeg;base64,aGVsbG8=');
  phone.receive(picture);
  await app.untilTaken(1);
  assert.equal(app.taken[0].mediaBase64, 'aGVsbG8=');
});

test('a message that the app refuses or fails at holds up nobody else', async (t) => {
  const app = await startApp(t);
  app.answers = new Map([['refused', 422], ['fails', 500]]);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  for (const text of ['refused', 'fails', 'behind it']) phone.receive(message(KIM, text));
  phone.receive(message(LEE, 'hello'));
  await app.untilTaken(1);
  app.answers.clear();
  await app.untilTaken(3);
  assert.deepEqual(app.taken.map(({ body }) => body), ['hello', 'fails', 'behind it']);
  assert.equal(bridge.health()['refused'], 1);
});

test('a message in a group has its writer, whom it names and what it replies to', async (t) => {
  const app = await startApp(t);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  const more = { author: KIM, mentionedJidList: ['99887766@lid', { _serialized: LEE }], quotedStanzaID: 'ABC', quotedParticipant: LEE };
  phone.receive(message(GROUP, '@99887766 hello', more));
  await app.untilTaken(1);
  const { from, sender, isGroupMsg, mentionedJidList, quotedStanzaID, quotedParticipant } = app.taken[0];
  assert.deepEqual(
    [from, sender, isGroupMsg, mentionedJidList, quotedStanzaID, quotedParticipant],
    [GROUP, { id: KIM }, true, ['99887766@lid', LEE], 'ABC', LEE],
  );
});

test('names, pictures and numbers of other people are not passed on', async (t) => {
  const app = await startApp(t);
  const { phone, bridge } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  phone.receive(message(KIM, 'hello', /** @type {any} */ ({ notifyName: 'Kim', sender: { id: KIM, pushname: 'Kim' }, chat: { contact: 1 } })));
  await app.untilTaken(1);
  const known = ['id', 'from', 'to', 'me', 'sender', 'type', 'body', 'timestamp', 'isGroupMsg'];
  assert.deepEqual(Object.keys(app.taken[0]), known);
  assert.deepEqual(app.taken[0].sender, { id: KIM });
});

test('an app that answers into the reply is shown to be set up wrongly', async (t) => {
  const app = await startApp(t);
  app.answer = '{"reply":"hello"}';
  const { phone, bridge, logged } = await startBridge(t, { appUrl: app.url });
  await until(() => bridge.health().connected);
  phone.receive(message(KIM, 'hello'));
  await until(() => bridge.health()['app'] === 'inline_reply');
  await until(() => logged.join().includes('CMW_WHATSAPP_INLINE must be off'));
});
