/** Reads request bodies up to a limit, and keeps the connection usable if a body is larger. */
import type { Readable } from 'node:stream';
import { Problem, type ProblemCode } from '../../../node/problem.ts';
import { free, GrowingBuffer } from '../../../stream/growing-buffer.ts';
import type { BodyBudget } from './body-budget.ts';

/**
 * Bytes past the limit are read and discarded, so that the client can send its next request on the same connection.
 * Beyond this multiple of the limit, the server closes the connection.
 */
const DRAIN_FACTOR = 4;

export interface BodyLimit {
  readonly maxBytes: number;
  readonly code: ProblemCode;
  /** What the limit applies to, for the message. */
  readonly what: string;
}

/** Thrown when the server closes the connection, because too much of the body is still to come. */
export class OversizedBody extends Problem {}

/** Thrown for a body with a `Content-Encoding`. */
export class EncodedBody extends Problem {}

/**
 * Refuses encoded bodies: values are stored and returned as they arrive, so a compressed body would become another
 * value.
 * @param header `Content-Encoding`, or undefined
 * @throws Problem UNSUPPORTED_MEDIA_TYPE for an encoding that changes bytes; the answer carries `Accept-Encoding:
 * identity`
 */
export function checkEncoding(header: string | undefined): void {
  const codings = (header ?? '').split(',').map((coding) => coding.trim().toLowerCase());
  if (codings.every((coding) => coding === '' || coding === 'identity')) return;
  throw new EncodedBody(
    'UNSUPPORTED_MEDIA_TYPE',
    'a body must come without a Content-Encoding, or with identity',
  );
}

/**
 * Reads a body, as fast as the budget allows. A body of more than one piece counts in the budget until the caller
 * releases it, after it has written the body. If the budget ends it before, the rest is dropped, and the promise stays
 * pending: the request is answered.
 * @param source undefined: there is no body, which counts as an empty one
 * @param declared the Content-Length, if there is one
 * @returns the whole body, in a buffer of its own
 * @throws Problem with the limit's code when the body is larger
 */
export function readBody(
  source: Readable | undefined,
  declared: string | undefined,
  limit: BodyLimit,
  budget: BodyBudget,
): Promise<Buffer> {
  if (source === undefined) return Promise.resolve(Buffer.alloc(0));
  const { maxBytes, code, what } = limit;
  const tooLarge = `${what} may have at most ${maxBytes} bytes`;
  const announced = Number(declared ?? 0);
  if (announced > maxBytes * DRAIN_FACTOR) {
    return Promise.reject(new OversizedBody(code, `${tooLarge}; ${announced} were announced`));
  }
  const expected = announced > 0 && announced <= maxBytes ? announced : 0;
  return new Promise((resolve, reject) => {
    const pieces = new Pieces(expected);
    let total = 0;
    source.on('data', (chunk: Buffer) => {
      if (chunk.length === 0) return;
      if (budget.isOver(source)) return pieces.drop();
      total += chunk.length;
      if (total > maxBytes) {
        // Discarded bytes take no memory.
        pieces.drop();
        budget.release(source);
        if (total > maxBytes * DRAIN_FACTOR) {
          source.pause();
          reject(new OversizedBody(code, tooLarge));
        }
        return;
      }
      pieces.add(chunk);
      // Nearly every body is one piece.
      if (total === chunk.length && total === expected) return;
      if (budget.hold(source, total, expected === 0 ? maxBytes : expected)) return;
      source.pause();
      budget.whenRoom(source, () => source.resume());
    });
    source.on('end', () => {
      if (budget.isOver(source)) return;
      if (total > maxBytes) return reject(new Problem(code, `${tooLarge}; ${total} came`));
      budget.complete(source);
      resolve(pieces.take());
    });
    source.on('error', () => {
      pieces.drop();
      budget.release(source);
      reject(new Problem('BAD_REQUEST', 'the connection broke before the body was complete'));
    });
  });
}

/** The bytes of a body that have come. */
class Pieces {
  readonly #expected: number;
  /** All of them, while they are one piece. */
  #first: Buffer | null = null;
  #rest: GrowingBuffer | null = null;

  /** @param expected number of bytes of the whole body; 0: it is not known */
  constructor(expected: number) {
    this.#expected = expected;
  }

  add(chunk: Buffer): void {
    if (this.#first === null && this.#rest === null) {
      this.#first = chunk;
      return;
    }
    this.#rest ??= new GrowingBuffer();
    if (this.#first !== null) this.#rest.add(this.#first, this.#expected);
    this.#first = null;
    this.#rest.add(chunk, this.#expected);
  }

  /** Frees the memory of the pieces. */
  drop(): void {
    this.#first = null;
    if (this.#rest !== null) free(this.#rest.take());
  }

  /** @returns all bytes, in a buffer of their own */
  take(): Buffer {
    // Copied, because a small chunk is a view that would keep a whole 64 KiB buffer of the socket in memory.
    if (this.#first !== null) return Buffer.from(this.#first);
    return this.#rest === null ? Buffer.alloc(0) : this.#rest.take();
  }
}
