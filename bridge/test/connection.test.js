import assert from 'node:assert/strict';
import { test } from 'node:test';

import { KIM, TOKEN, message, startApp, startBridge, until } from './helpers.js';
import { StandIn } from './stand_in.js';

test('a code is shown in the terminal and on the page, until it was scanned', async (t) => {
  const phone = new StandIn({ isLinked: false });
  const { bridge, shown, url } = await startBridge(t, { phone });
  await until(() => bridge.health()['state'] === 'scan the code');
  const headers = { authorization: `Basic ${btoa(`any:${TOKEN}`)}` };
  const page = async () => (await fetch(`${url}/qr`, { headers })).text();
  assert.ok(!(await page()).includes('<img'));
  phone.showCode(1);
  assert.ok((await page()).includes(`<img alt="Code to scan" src="data:image/png;base64,${btoa('code 1')}"`));
  phone.showCode(2);
  assert.ok((await page()).includes(btoa('code 2')));
  assert.deepEqual(shown, ['[code 1]', '[code 2]']);
  phone.scan();
  await until(() => bridge.health().connected);
  assert.ok(!(await page()).includes('<img'));
});

test('a page that does not open is opened again, and no browser is left behind', async (t) => {
  const phone = new StandIn();
  phone.failures = [new Error('net::ERR_NAME_NOT_RESOLVED'), new Error('net::ERR_TIMED_OUT')];
  const { bridge, logged, stop } = await startBridge(t, { phone });
  await until(() => bridge.health().connected);
  assert.equal(phone.browsers, 1);
  assert.match(logged.join('\n'), /ERR_NAME_NOT_RESOLVED[^]*ERR_TIMED_OUT/);
  await stop();
  assert.equal(phone.browsers, 0);
  assert.equal(bridge.health()['state'], 'stopped');
});

for (const [what, end] of /** @type {[string, (phone: StandIn) => void][]} */ ([
  ['a browser that crashes', (phone) => phone.crash()],
  ['a phone that is unlinked', (phone) => phone.change('UNPAIRED')],
  ['another page that takes over', (phone) => phone.change('CONFLICT')],
])) {
  test(`after ${what} WhatsApp is opened again, and messages go on`, async (t) => {
    const app = await startApp(t);
    const { phone, bridge } = await startBridge(t, { appUrl: app.url });
    await until(() => bridge.health().connected);
    const first = phone.client;
    end(phone);
    phone.state = 'CONNECTED';
    await until(() => phone.client !== first && bridge.health().connected);
    phone.receive(message(KIM, 'still there?'));
    await app.untilTaken(1);
    assert.equal(phone.browsers, 1);
  });
}

test('a page that answers no more is opened again', async (t) => {
  const { phone, bridge } = await startBridge(t);
  await until(() => bridge.health().connected);
  const first = phone.client;
  phone.state = 'TIMEOUT';
  await until(() => phone.client !== first);
  phone.state = 'CONNECTED';
  await until(() => bridge.health().connected);
});

test('a connection that falters for a moment is not opened again', async (t) => {
  const { phone, bridge } = await startBridge(t, { check: 60_000 });
  await until(() => bridge.health().connected);
  const first = phone.client;
  phone.change('OPENING');
  assert.equal(bridge.health()['state'], 'connecting');
  phone.change('CONNECTED');
  assert.equal(bridge.health().connected, true);
  assert.equal(phone.client, first);
});
