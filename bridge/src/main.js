import path from 'node:path';
import { fileURLToPath } from 'node:url';

import library from '@wppconnect-team/wppconnect';

import { launchBrowser } from './browser.js';
import { runBridge } from './run.js';

for (const transport of library.defaultLogger.transports) transport.silent = true; // it would log messages
await runBridge(library.create, launchBrowser, path.join(path.dirname(fileURLToPath(import.meta.url)), '../../.env'));
