import assert from 'node:assert/strict';
import { test } from 'node:test';

import { KIM, TOKEN, post, startBridge, until } from './helpers.js';

const DATA = 'aGVsbG8=';
const FILE = { chatId: KIM, mediaBase64: DATA, mediaMimetype: 'text/plain', mediaFilename: 'a.txt', caption: 'look' };

test('a text and a file are sent, and the answer names the message', async (t) => {
  const { phone, bridge, url } = await startBridge(t);
  await until(() => bridge.health().connected);
  const text = await post(`${url}/send/text`, { chatId: KIM, message: 'hello' });
  assert.deepEqual([text.status, await text.json()], [200, { id: `true_${KIM}_SENT1` }]);
  assert.equal((await post(`${url}/send/file`, FILE)).status, 200);
  assert.deepEqual(phone.sent, [
    { chat: KIM, text: 'hello' },
    { chat: KIM, file: `data:text/plain;base64,${DATA}`, caption: 'look' },
  ]);
});

test('texts go in the order in which they were asked for', async (t) => {
  const { phone, bridge, url } = await startBridge(t);
  await until(() => bridge.health().connected);
  /** @type {() => void} */
  let go = () => {};
  phone.plan = [() => new Promise((resolve) => void (go = resolve))];
  const sends = [];
  for (const text of ['one', 'two', 'three']) {
    sends.push(post(`${url}/send/text`, { chatId: KIM, message: text }));
    if (text === 'one') await until(() => phone.plan.length === 0);
    else await until(() => bridge.sending.queued === sends.length);
  }
  go();
  await Promise.all(sends);
  assert.deepEqual(phone.sent.map(({ text }) => text), ['one', 'two', 'three']);
});

test('an answer that is being written is shown and hidden', async (t) => {
  const { phone, bridge, url } = await startBridge(t);
  await until(() => bridge.health().connected);
  await post(`${url}/typing/start`, { chatId: KIM });
  await post(`${url}/typing/stop`, { chatId: KIM });
  assert.deepEqual(phone.typing, [`start ${KIM}`, `stop ${KIM}`]);
});

test('without the token nothing is done, and the body is not read', async (t) => {
  const { phone, bridge, url } = await startBridge(t);
  await until(() => bridge.health().connected);
  const basic = { authorization: `Basic ${btoa(`:${TOKEN}`)}` };
  for (const path of ['/send/text', '/send/file', '/typing/start', '/typing/stop']) {
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: TOKEN }, basic]) {
      const answer = await post(url + path, { chatId: KIM, message: 'x'.repeat(1_000_000) }, headers);
      assert.equal(answer.status, 401, path);
    }
  }
  const page = await fetch(`${url}/qr`);
  assert.equal(page.status, 401);
  assert.equal(page.headers.get('www-authenticate'), 'Basic realm="bridge"');
  assert.deepEqual([phone.sent, phone.typing], [[], []]);
});

test('what no form of another site can send is asked for', async (t) => {
  const { url } = await startBridge(t);
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'text/plain' };
  assert.equal((await post(`${url}/send/text`, { chatId: KIM, message: 'x' }, headers)).status, 415);
});

test('a request that is none is answered with a sentence and an id', async (t) => {
  const { bridge, url } = await startBridge(t);
  await until(() => bridge.health().connected);
  const cases = /** @type {[string, object, number][]} */ ([
    ['/send/text', { chatId: KIM }, 422],
    ['/send/text', { chatId: 'status@broadcast', message: 'x' }, 422],
    ['/send/text', { chatId: `${KIM}\n`, message: 'x' }, 422],
    ['/send/text', { chatId: KIM, message: 'x'.repeat(70_000) }, 422],
    ['/send/text', { chatId: KIM, message: 'x'.repeat(600_000) }, 413],
    ['/send/text', [], 422],
    ['/send/file', { ...FILE, mediaBase64: '../../etc/passwd' }, 422],
    ['/send/file', { ...FILE, mediaBase64: 'http://169.254.169.254/' }, 422],
    ['/send/file', { ...FILE, mediaMimetype: 'text/plain;base64,x' }, 422],
    ['/nothing', {}, 404],
    ['/health', {}, 405],
  ]);
  for (const [path, body, status] of cases) {
    const answer = await post(url + path, body);
    assert.equal(answer.status, status, `${path} ${JSON.stringify(body).slice(0, 80)}`);
    const told = /** @type {{ error: string, id: string }} */ (await answer.json());
    assert.match(told.error, /^[A-Z].*\.$/);
    assert.match(told.id, /^[0-9a-f]{8}$/);
  }
});

test('a text that certainly was not sent is a status, and one that perhaps was is a cut connection', async (t) => {
  const { phone, bridge, url, logged } = await startBridge(t);
  const send = () => post(`${url}/send/text`, { chatId: KIM, message: 'hello' });
  await until(() => bridge.health().connected);
  const fail = (/** @type {string} */ text) => () => Promise.reject(new Error(text));
  phone.plan = [fail(`Chat not found for ${KIM}`), fail('Execution context was destroyed')];
  assert.equal((await send()).status, 422);
  await assert.rejects(send());
  assert.ok(!logged.join().includes('a request failed'));
  phone.state = 'OPENING';
  phone.change('OPENING');
  const away = await send();
  assert.deepEqual([away.status, away.headers.get('retry-after')], [503, '5']);
});

test('a send of which nobody waits any more is not begun', async (t) => {
  const { phone, bridge } = await startBridge(t);
  await until(() => bridge.health().connected);
  /** @type {() => void} */
  let go = () => {};
  phone.plan = [() => new Promise((resolve) => void (go = resolve))];
  const gone = new AbortController();
  const first = bridge.sending.text(KIM, 'one', new AbortController().signal);
  const second = bridge.sending.text(KIM, 'two', gone.signal);
  await until(() => phone.plan.length === 0);
  gone.abort();
  go();
  await first;
  await assert.rejects(second, { problem: 'busy' });
  assert.deepEqual(phone.sent.map(({ text }) => text), ['one']);
});

test('what waits to be sent is bounded', async (t) => {
  const { phone, bridge, url } = await startBridge(t);
  await until(() => bridge.health().connected);
  /** @type {() => void} */
  let go = () => {};
  phone.plan = [() => new Promise((resolve) => void (go = resolve))];
  const { signal } = new AbortController();
  const sends = Array.from({ length: 64 }, () => bridge.sending.text(KIM, 'hello', signal));
  const answer = await post(`${url}/send/text`, { chatId: KIM, message: 'one more' });
  assert.equal(answer.status, 503);
  go();
  await Promise.all(sends);
  assert.equal(phone.sent.length, 64);
});
