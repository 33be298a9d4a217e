import { open as openFile } from 'node:fs/promises';

/** Makes the names in a folder durable; Windows has no such thing, and refuses. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await openFile(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
