/** Hashes a piece of the stream that is not applied. */
import { xxh64 } from '../../node/head/history/xxh64.ts';
import { NoStream } from '../../node/ports/failures.ts';
import { chained } from '../../replication/history-hash.ts';
import type { Run } from '../../stream/command.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';

export class HistoryHasher {
  readonly #decoder = new StreamDecoder();
  #offset: number;
  #hash: bigint | null;

  /** @param from where the piece begins */
  constructor({ offset, hash }: { readonly offset: number; readonly hash: bigint | null }) {
    this.#offset = offset;
    this.#hash = hash;
  }

  /** The end of the last whole command. */
  get offset(): number {
    return this.#offset;
  }

  /** The history hash there; null: unknown, because that at the begin is. */
  get hash(): bigint | null {
    return this.#hash;
  }

  /** Takes the next bytes, which nobody may change afterwards. @throws NoStream */
  push(bytes: Buffer): void {
    const run = decoded(this.#decoder, bytes, this.#offset);
    if (run === null) return;
    this.#offset += run.bytes.length;
    if (this.#hash !== null) this.#hash = chained(this.#hash, run.bytes, run.boundaries, xxh64);
  }
}

/**
 * @param offset that of the last whole command before, for the message
 * @returns the commands that are whole; null: none is
 * @throws NoStream
 */
export function decoded(decoder: StreamDecoder, bytes: Buffer, offset: number): Run | null {
  try {
    return decoder.push(bytes);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new NoStream(`the bytes after byte ${offset} are no stream: ${error.message}`);
  }
}
