import puppeteer from 'puppeteer-core';
import { addExtra } from 'puppeteer-extra';
import stealth from 'puppeteer-extra-plugin-stealth';

/**
 * Starts Chromium. The library could do it too, but then nobody could end a browser whose page does not open.
 *
 * @type {import('./types.js').Launch}
 */
export async function launchBrowser({ executablePath, userDataDir, hasSandbox }) {
  const extra = addExtra(puppeteer);
  extra.use(stealth());
  return extra.launch({
    executablePath,
    userDataDir,
    args: ['--disable-dev-shm-usage', '--disable-gpu', ...(hasSandbox ? [] : ['--no-sandbox'])],
    // the bridge ends it: messages are stored before
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
}
