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
    /** The body so far, while it is one piece; nearly every body is. */
    let first: Buffer | null = null;
    let rest: GrowingBuffer | null = null;
    let total = 0;
    source.on('data', (chunk: Buffer) => {
      if (chunk.length === 0) return;
      if (budget.isOver(source)) {
        first = null;
        if (rest !== null) free(rest.take());
        return;
      }
      total += chunk.length;
      if (total > maxBytes) {
        // Discarded bytes take no memory.
        first = null;
        if (rest !== null) free(rest.take());
        budget.release(source);
        if (total > maxBytes * DRAIN_FACTOR) {
          source.pause();
          reject(new OversizedBody(code, tooLarge));
        }
        return;
      }
      if (total === chunk.length) {
        first = chunk;
        if (total === expected) return;
      } else {
        rest ??= new GrowingBuffer();
        if (first !== null) rest.add(first, expected);
        first = null;
        rest.add(chunk, expected);
      }
      if (budget.hold(source, total, expected === 0 ? maxBytes : expected)) return;
      source.pause();
      budget.whenRoom(source, () => source.resume());
    });
    source.on('end', () => {
      if (budget.isOver(source)) return;
      if (total > maxBytes) return reject(new Problem(code, `${tooLarge}; ${total} came`));
      budget.complete(source);
      // Copied, because a small chunk is a view that would keep a whole 64 KiB buffer of the socket in memory.
      if (first !== null) resolve(Buffer.from(first));
      else resolve(rest === null ? Buffer.alloc(0) : rest.take());
    });
    source.on('error', () => {
      if (rest !== null) free(rest.take());
      budget.release(source);
      reject(new Problem('BAD_REQUEST', 'the connection broke before the body was complete'));
    });
  });
}
