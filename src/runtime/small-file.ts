/** Reads small files that the user names. The name may be that of a device, of a FIFO, or of a file without end. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/**
 * Reads a whole file.
 * @param path path of a regular file, or of a link to one
 * @param maxBytes largest size of the file
 * @returns the bytes of the file
 * @throws Error with the reason: it is not a regular file, it is too large, or the error of the operating system
 */
export function readSmallFile(path: string, maxBytes: number): Buffer {
  // Without O_NONBLOCK a FIFO would keep the process until somebody writes into it.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (stats.isDirectory()) throw new Error('it is a folder');
    if (!stats.isFile()) throw new Error('it is no regular file');
    // The size in `stats` is not used, because files in /proc have the size 0, and other files may grow meanwhile.
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
