/** Small files that the user names, read whole. A name may lead to anything: to a device, a FIFO, a file without end. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/**
 * @param path of a regular file, or of a link to one
 * @param maxBytes the most that it may have
 * @returns its bytes
 * @throws Error that says why it is not read: it is no file, it is too large, or what the system says
 */
export function readSmallFile(path: string, maxBytes: number): Buffer {
  // Without O_NONBLOCK a FIFO would keep the process until somebody writes into it.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (stats.isDirectory()) throw new Error('it is a folder');
    if (!stats.isFile()) throw new Error('it is no regular file');
    // The size is not believed: files of /proc have none, and others grow.
    const bytes = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(file, bytes, length, bytes.length - length, null);
    }
    if (length > maxBytes) throw new Error(`it has more than ${maxBytes} bytes`);
    return bytes.subarray(0, length);
  } finally {
    closeSync(file);
  }
}
