import { Bridge } from './bridge.js';
import { causeOf, writeLog } from './logs.js';
import { SettingError, readSettings } from './settings.js';

/**
 * Runs a bridge until the process is told to end; 2 is its exit code where a setting is wrong.
 *
 * @param {import('./types.js').Create} create The library's.
 * @param {import('./types.js').Launch} launch Starts a browser.
 * @param {string} [envFile] The app's file of settings, which need not be there; the environment goes before it.
 * @param {{ pause?: number, check?: number }} [times] Milliseconds of first pauses, and between checks.
 */
export async function runBridge(create, launch, envFile, times) {
  const end = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => end.abort());
  process.on('unhandledRejection', (error) => writeLog('a task failed', { cause: causeOf(error) }));
  try {
    if (envFile) loadEnv(envFile);
    const settings = readSettings(process.env);
    if (!settings.browser) throw new SettingError('Chromium is missing: install it, or set BRIDGE_BROWSER to its path.');
    const bridge = await Bridge.open({
      settings,
      create,
      launch,
      show: (text) => process.stdout.write(`${text}\n`),
      log: writeLog,
      ...(times ? { times } : {}),
    });
    await bridge.run(end.signal);
    process.exitCode = 0;
  } catch (error) {
    const isPlain = error instanceof SettingError || causeOf(error).includes('EADDRINUSE');
    process.stderr.write(`error: ${isPlain ? /** @type {Error} */ (error).message : causeOf(error)}\n`);
    process.exitCode = 2;
  }
  // the library's timers would keep the process
  process.exit();
}

/** @param {string} file */
function loadEnv(file) {
  try {
    process.loadEnvFile(file);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
  }
}
