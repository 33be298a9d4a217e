/** Reads a segment that was downloaded into a file. Nothing of it is used before its SHA-256 has been compared. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';
import {
  FRAME_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  SegmentError,
  type SegmentHeader,
  SKIPPABLE,
  SUM_BYTES,
} from './segment.ts';

/** Number of bytes that are read at a time. */
const PART_BYTES = 256 * 1024;

export interface OpenSegment {
  readonly header: SegmentHeader;
  /**
   * The bytes of the stream. The caller must take them to their end: only then they are known to be what was archived.
   * @throws SegmentError
   */
  readonly bytes: () => AsyncGenerator<Buffer>;
}

/**
 * Checks the whole file.
 * @throws SegmentError, or the error of the file system
 */
export async function openSegment(path: string): Promise<OpenSegment> {
  const file = await openFile(path, 'r');
  try {
    const begin = await exactly(file, FRAME_BYTES + SUM_BYTES, 0);
    if (begin.readUInt32LE(0) !== SKIPPABLE) throw new SegmentError('it does not begin as one');
    const textBytes = begin.readUInt32LE(4) - SUM_BYTES;
    if (textBytes < 2 || textBytes > MAX_HEADER_BYTES) throw new SegmentError('its header has no length');
    const text = await exactly(file, textBytes, begin.length);
    const from = begin.length + textBytes;
    const sum = createHash('sha256').update(text);
    const options = { start: from, autoClose: false, highWaterMark: PART_BYTES };
    for await (const part of file.createReadStream(options)) sum.update(part as Buffer);
    if (!sum.digest().equals(begin.subarray(FRAME_BYTES))) {
      throw new SegmentError('its bytes are not those that were written');
    }
    const header = parseHeader(text.toString());
    return { header, bytes: () => bytesOf(path, from, header) };
  } finally {
    await file.close();
  }
}

/** @throws SegmentError if the bytes are not those of the header, or more */
async function* bytesOf(path: string, from: number, header: SegmentHeader): AsyncGenerator<Buffer> {
  const expected = header.end - header.after;
  const sum = createHash('sha256');
  let length = 0;
  const zstd = createZstdDecompress();
  // The errors of both come out of the last one.
  pipeline(createReadStream(path, { start: from, highWaterMark: PART_BYTES }), zstd, () => undefined);
  try {
    for await (const part of zstd) {
      const bytes = part as Buffer;
      length += bytes.length;
      if (length > expected) throw new SegmentError(`it has more than ${expected} bytes of the stream`);
      sum.update(bytes);
      yield bytes;
    }
  } catch (error) {
    throw isOfZstd(error) ? new SegmentError('its bytes cannot be unpacked') : error;
  }
  if (length !== expected || sum.digest('hex') !== header.sha256) {
    throw new SegmentError('the bytes of the stream in it are not those that were archived');
  }
}

async function exactly(file: FileHandle, length: number, at: number): Promise<Buffer> {
  const into = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(into, done, length - done, at + done);
    if (bytesRead === 0) throw new SegmentError('a part of it is missing');
    done += bytesRead;
  }
  return into;
}

function isOfZstd(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return code.startsWith('ZSTD_') || code.startsWith('Z_') || code === 'ERR_STREAM_PREMATURE_CLOSE';
}
