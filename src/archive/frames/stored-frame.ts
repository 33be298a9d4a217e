/**
 * A frame of zstd that holds its bytes as they are. Its length follows from the lengths of the pushed bytes alone, so nobody learns
 * from it whether one writer's bytes repeat those of another. Every zstd unpacks it. (RFC 8878, 3.1.1)
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Frame } from './frame.ts';

/** The magic, a descriptor without a length and a checksum, because the segment has better ones, and a window of 128 KiB. */
const BEGIN = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
/** Longest block of that window, in bytes. */
const MAX_BLOCK_BYTES = 128 * 1024;
const HEADER_BYTES = 3;
/** Marks the last block of a frame. The two bits above it are zero: the block holds its bytes as they are. */
const LAST = 1;

export class StoredFrame implements Frame {
  #parts: Buffer[] = [BEGIN];

  async push(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; at += MAX_BLOCK_BYTES) {
      const block = bytes.subarray(at, at + MAX_BLOCK_BYTES);
      this.#parts.push(headerOf(block.length), block);
    }
    // No other thread has work to wait for, so others get the event loop here.
    await nextTurn();
  }

  finish(): Promise<readonly Buffer[]> {
    return Promise.resolve([...this.#parts, headerOf(0, LAST)]);
  }

  close(): void {
    this.#parts = [];
  }
}

function headerOf(length: number, flags = 0): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntLE((length << 3) | flags, 0, HEADER_BYTES);
  return header;
}
