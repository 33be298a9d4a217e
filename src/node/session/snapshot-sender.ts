/**
 * A frozen keyspace file on its way to one replica.
 *
 * The event loop of a busy master serves this sender only every few milliseconds, so the sender must have much to send each
 * time: it reads the next part of the file while the socket sends the present one. It reads into four buffers in turn, each
 * as soon as the socket has taken its bytes; a slow socket therefore slows the reading down. New buffers for each part would
 * make the garbage collector walk the whole heap several times (measured for 152 MB: 0.3 s of processor time).
 */
import type { FrozenFile } from '../ports/keyspace.ts';
import type { SnapshotSums } from './shared-file.ts';

/** The largest message that a master sends, in bytes; far below the largest that a replica accepts. */
export const MESSAGE_BYTES = 256 * 1024;
/** Number of buffers, each of the size of one part of the file. */
const BUFFERS = 4;

/** One of the buffers. */
interface Slot {
  readonly buffer: Buffer;
  /** Resolves when the socket has taken the bytes of the buffer, so that it can be filled anew. */
  taken: Promise<void>;
}

export class SnapshotSender {
  readonly #file: FrozenFile;
  readonly #sums: SnapshotSums;
  readonly #give: (bytes: Buffer, sent?: () => void) => void;
  readonly #slots: readonly Slot[];
  #given: number;
  #stopped = false;

  /**
   * @param place the file, the number of its first bytes that the replica has, and its checksums, which the sender adds to; the
   *   checksum of those bytes must be among them
   * @param give sends bytes; it calls `sent` when the socket has taken them, and also when the socket never will
   */
  constructor(
    { file, from, sums }: { file: FrozenFile; from: number; sums: SnapshotSums },
    give: (bytes: Buffer, sent?: () => void) => void,
  ) {
    this.#file = file;
    this.#sums = sums;
    this.#given = from;
    this.#give = give;
    const bytes = Math.min(file.partBytes, file.length - from);
    this.#slots = Array.from({ length: BUFFERS }, () => ({
      buffer: Buffer.allocUnsafeSlow(bytes),
      taken: Promise.resolve(),
    }));
  }

  /** Bytes of the file that the replica has, or that the sender has given to the socket. */
  get given(): number {
    return this.#given;
  }

  /** Sends nothing more: `send` resolves soon. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Sends the rest of the file. Resolves when the socket was given all of it, or after `stop`.
   * @returns the CRC-32 of the file up to the last byte that was sent (measured: 1 MiB takes less than 0.4 ms)
   */
  async send(): Promise<number> {
    let crc32 = this.#sums.at(this.#given) ?? 0;
    let reading = this.#read(0, this.#given);
    for (let index = 0; this.#given < this.#file.length && !this.#stopped; index += 1) {
      const part = await reading;
      if (this.#stopped) break;
      reading = this.#read(index + 1, this.#given + part.length);
      // The next round awaits this read and takes its error. If the sender stops, no round follows, and the error has no taker.
      reading.catch(() => undefined);
      crc32 = this.#file.crc32(part, crc32);
      this.#send(this.#slot(index), part);
      this.#sums.note(this.#given, crc32);
    }
    return crc32;
  }

  #slot(index: number): Slot {
    return this.#slots[index % this.#slots.length] as Slot;
  }

  /** Reads the part of the file that begins at byte `at`, as soon as its buffer is free. @returns the part, in that buffer */
  async #read(index: number, at: number): Promise<Buffer> {
    const slot = this.#slot(index);
    await slot.taken;
    const into = slot.buffer.subarray(0, Math.max(0, this.#file.length - at));
    if (into.length > 0 && !this.#stopped) await this.#file.read(at, into);
    return into;
  }

  #send(slot: Slot, part: Buffer): void {
    this.#given += part.length;
    slot.taken = new Promise((resolve) => {
      for (let at = 0; at < part.length; at += MESSAGE_BYTES) {
        const end = at + MESSAGE_BYTES;
        this.#give(part.subarray(at, end), end >= part.length ? resolve : undefined);
      }
    });
  }
}
