/**
 * Reads parts of the stream of exactly the size that is asked for. The journal returns whole rows, so the reader keeps the rest of the
 * last one for the next part.
 */
import type { Offset } from '../../../replication/position.ts';
import type { StreamHead } from '../../head/stream-head.ts';

/** Largest rest that is kept for the next part, in bytes. A row is longer only if it has a large write. */
const MAX_REST_BYTES = 16 * 1024 * 1024;

interface Rest {
  /** The bytes follow this offset. */
  readonly after: Offset;
  readonly bytes: Buffer;
}

export class StreamReader {
  readonly #head: StreamHead;
  #rest: Rest | null = null;

  constructor(head: StreamHead) {
    this.#head = head;
  }

  /**
   * @param after offset at most that of the head
   * @param mostBytes largest number of bytes to return
   * @returns the bytes after `after`, and no bytes after the head; at least one if there are any
   * @throws StorageError when the store cannot read the journal
   */
  read(after: Offset, mostBytes: number): Buffer {
    const most = Math.min(mostBytes, this.#head.offset - after);
    if (most <= 0) return Buffer.alloc(0);
    const rest = this.#restAfter(after);
    const bytes = rest ?? this.#head.read(after, most);
    if (bytes.length <= most && rest === null) return bytes;
    if (rest === null) this.#rest = { after, bytes };
    // A copy, because what is decoded refers to the bytes and would keep the whole row.
    return Buffer.from(bytes.subarray(0, most));
  }

  /** Keeps of the rest only what follows `after`, and nothing if that is large. */
  tidy(after: Offset): void {
    const rest = this.#rest;
    const bytes = this.#restAfter(after);
    if (rest === null || bytes === null || bytes.length > MAX_REST_BYTES) this.#rest = null;
    // Each copy is less than half as long as the one before it, so all copies of a row together are not longer than the row.
    else if (2 * bytes.length < rest.bytes.length) this.#rest = { after, bytes: Buffer.from(bytes) };
  }

  /** Frees the rest, because the stream is another one or nobody reads. */
  clear(): void {
    this.#rest = null;
  }

  #restAfter(after: Offset): Buffer | null {
    const rest = this.#rest;
    if (rest === null || after < rest.after || after >= rest.after + rest.bytes.length) return null;
    return rest.bytes.subarray(after - rest.after);
  }
}
