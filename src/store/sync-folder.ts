import { open as openFile } from 'node:fs/promises';

/** Makes the file names in a folder durable. Windows offers no such call and returns an error, which is ignored. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await openFile(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
