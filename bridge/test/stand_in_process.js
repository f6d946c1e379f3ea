// The bridge as a process, with the stand-in instead of WhatsApp: for tests of the whole app. With the argument `linked`
// the phone is linked already.
// Each line of the standard input is a command, `["receive", message]` and the like; each line of the standard output
// reports what has arrived on the phone, `["sent", chat, text]` and the like.
import { createInterface } from 'node:readline';

import { runBridge } from '../src/run.js';
import { StandIn } from './stand_in.js';

const phone = new StandIn({ isLinked: process.argv[2] === 'linked', isWaiting: true });
const tell = (/** @type {unknown[]} */ ...parts) => process.stdout.write(`${JSON.stringify(parts)}\n`);

phone.events.on('opened', () => tell('opened'));
phone.events.on('sent', ({ chat, text }) => tell('sent', chat, text));
phone.events.on('seen', (chat) => tell('seen', chat));
phone.events.on('typing', (what) => tell('typing', what));

/** @type {Record<string, (...values: any[]) => void>} */
const COMMANDS = {
  connect: () => phone.connect(),
  scan: () => phone.scan(),
  file: (id, url) => phone.files.set(id, url),
  receive: (message) => phone.receive(message),
};

createInterface(process.stdin).on('line', (line) => {
  const [name, ...values] = JSON.parse(line);
  COMMANDS[name]?.(...values);
});
await runBridge(phone.create, phone.launch, undefined, { pause: 50 });
