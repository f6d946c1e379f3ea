import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/**
 * Writes a file that is whole or absent, whenever the machine stops.
 *
 * @param {string} file Its path.
 * @param {string | Buffer} content
 */
export async function writeWhole(file, content) {
  const draft = `${file}.draft`;
  try {
    const handle = await open(draft, 'w', 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  await syncFolder(path.dirname(file));
}

/**
 * Has a folder's names reach the disk.
 *
 * @param {string} folder
 */
async function syncFolder(folder) {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
