/** Request bodies, read with a limit, in a way that leaves the connection usable when the limit is passed. */
import type { Readable } from 'node:stream';
import { Problem, type ProblemCode } from '../../node/problem.ts';
import { free, GrowingBuffer } from '../../stream/growing-buffer.ts';
import type { BodyBudget } from './body-budget.ts';

/**
 * What is past the limit is read and thrown away, so that the client can send its next request on the same
 * connection; but not more than so many times the limit: then the connection is closed.
 */
const DRAIN_FACTOR = 4;

export interface BodyLimit {
  readonly maxBytes: number;
  readonly code: ProblemCode;
  /** What the limit is about, for the message. */
  readonly what: string;
}

/** Thrown together with closing the connection: the rest of the body is not worth reading. */
export class OversizedBody extends Problem {}

/** Thrown for a body in a content coding. */
export class EncodedBody extends Problem {}

/**
 * Values are kept as they come, and given back without an encoding: a body that is compressed would become another value.
 * @param header `Content-Encoding`, or undefined
 * @throws Problem UNSUPPORTED_MEDIA_TYPE for an encoding that changes bytes; its answer says `Accept-Encoding: identity`
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
 * Reads a body, as long as the budget lets it. A body that comes in more than one piece counts in the budget, and goes on doing so
 * after it was returned: whoever has written it releases it.
 * @param source undefined: there is no body, which is an empty one
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
    /** What has come, if that is one piece: nearly every body is. */
    let first: Buffer | null = null;
    let rest: GrowingBuffer | null = null;
    let total = 0;
    source.on('data', (chunk: Buffer) => {
      if (chunk.length === 0) return;
      total += chunk.length;
      if (total > maxBytes) {
        // What is read only to be thrown away takes no memory.
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
      if (total > maxBytes) return reject(new Problem(code, `${tooLarge}; ${total} came`));
      budget.complete(source);
      // A small chunk is a view into a 64 KiB buffer of the socket: the copy lets that one go.
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
