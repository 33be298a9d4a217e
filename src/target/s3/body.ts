/** What is sent to S3: bytes of memory, or a part of a file, which is read piece by piece. */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { TargetError } from '../../node/ports/backup-target.ts';
import { messageOf } from '../../node/ports/failures.ts';
import type { Body } from './client.ts';

/** Number of bytes that are read, hashed and sent at a time: the turn of the event loop stays short. */
const PIECE_BYTES = 128 * 1024;

/** What an object is made of, in parts. */
export interface Source {
  readonly length: number;
  /** @returns the bytes from `start`, `length` of them @throws TargetError if they cannot be read */
  body(start: number, length: number): Promise<Body>;
}

export function sourceOfBytes(bytes: Uint8Array): Source {
  return {
    length: bytes.length,
    body: async (start, length) => bodyOf(bytes.subarray(start, start + length)),
  };
}

/** @param bytes of at most a few megabytes */
export function bodyOf(bytes: Uint8Array): Body {
  return {
    length: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    parts: () => slices(bytes),
  };
}

/** A socket that takes a large buffer slowly would seem to take nothing. */
function* slices(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/** @param file that the caller closes, and nobody changes; the sum of each part is made when it is asked for */
export function sourceOfFile(path: string, file: FileHandle, size: number): Source {
  return {
    length: size,
    body: async (start, length) => {
      const parts = (): AsyncGenerator<Buffer> => pieces(path, file, start, length);
      const hash = createHash('sha256');
      for await (const piece of parts()) hash.update(piece);
      return { length, sha256: hash.digest('hex'), parts };
    },
  };
}

async function* pieces(
  path: string,
  file: FileHandle,
  start: number,
  length: number,
): AsyncGenerator<Buffer> {
  for (let done = 0; done < length; ) {
    // A new buffer each time: the socket keeps what the network has not taken.
    const into = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, length - done));
    const { bytesRead } = await file.read(into, 0, into.length, start + done).catch((error: unknown) => {
      throw new TargetError('TARGET_FAILED', `cannot read ${path}: ${messageOf(error)}`, error);
    });
    if (bytesRead === 0) throw new TargetError('TARGET_FAILED', `cannot read ${path}: it has become shorter`);
    done += bytesRead;
    yield into.subarray(0, bytesRead);
  }
}
