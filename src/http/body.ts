/** Request bodies, read with a limit, in a way that leaves the connection usable when the limit is passed. */
import type { Readable } from 'node:stream';
import { Problem, type ProblemCode } from '../node/problem.ts';

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
 * @param source undefined: there is no body, which is an empty one
 * @param declared the Content-Length, if there is one
 * @returns the whole body, in a buffer of its own
 * @throws Problem with the limit's code when the body is larger
 */
export function readBody(
  source: Readable | undefined,
  declared: string | undefined,
  limit: BodyLimit,
): Promise<Buffer> {
  if (source === undefined) return Promise.resolve(Buffer.alloc(0));
  const { maxBytes, code, what } = limit;
  const tooLarge = `${what} may have at most ${maxBytes} bytes`;
  const announced = Number(declared ?? 0);
  if (announced > maxBytes * DRAIN_FACTOR) {
    return Promise.reject(new OversizedBody(code, `${tooLarge}; ${announced} were announced`));
  }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let total = 0;
    source.on('data', (chunk: Buffer) => {
      total += chunk.length;
      if (total <= maxBytes) chunks.push(chunk);
      else if (total > maxBytes * DRAIN_FACTOR) {
        source.pause();
        reject(new OversizedBody(code, tooLarge));
      }
    });
    source.on('end', () => {
      if (total > maxBytes) reject(new Problem(code, `${tooLarge}; ${total} came`));
      // A small chunk is a view into a 64 KiB buffer of the socket: the copy lets that one go.
      else resolve(chunks.length === 1 ? Buffer.from(chunks[0] as Buffer) : Buffer.concat(chunks, total));
    });
    source.on('error', () =>
      reject(new Problem('BAD_REQUEST', 'the connection broke before the body was complete')),
    );
  });
}
