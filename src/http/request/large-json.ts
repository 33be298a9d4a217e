/** Writes JSON answers with large values piece by piece while they are sent, in slices. */
import { Readable } from 'node:stream';
import { encodingSteps, toJsonValue } from '../../keyspace/json/json-value.ts';
import { jsonLine } from '../../web/problem-body.ts';
import { AT_ONCE_BYTES, slices } from './slices.ts';

/**
 * Number of bytes of a value that are encoded at a time; a multiple of three, so that pieces of base64 can be joined.
 */
const PIECE_BYTES = 48 * 1024;

/** An object with a value that may be large. */
export interface WithValue {
  /** Members before the value; at least one. */
  readonly before: object;
  /** The value; null: there is none. */
  readonly value: Buffer | null;
  /** Members after the value. */
  readonly after: object;
}

/** Returns the complete object. */
export function whole({ before, value, after }: WithValue): object {
  return value === null ? { ...before, ...after } : { ...before, ...toJsonValue(value), ...after };
}

/** Whether the values are small enough together to be encoded at once. */
export function areSmall(objects: readonly WithValue[]): boolean {
  let bytes = 0;
  for (const { value } of objects) bytes += value?.length ?? 0;
  return bytes <= AT_ONCE_BYTES;
}

/** Yields the JSON of the object in pieces; each takes at most about a millisecond. */
export function* pieces(object: WithValue): Generator<string> {
  const { before, value, after } = object;
  if (value === null || value.length <= PIECE_BYTES) {
    yield JSON.stringify(whole(object));
    return;
  }
  const steps = encodingSteps(value);
  let step = steps.next();
  for (; step.done !== true; step = steps.next()) yield '';
  const encoding = step.value;
  const isText = encoding === 'utf8';
  yield `${JSON.stringify(before).slice(0, -1)},"value":"`;
  for (let from = 0; from < value.length; ) {
    const to = isText
      ? endOfCharacter(value, from + PIECE_BYTES)
      : Math.min(from + PIECE_BYTES, value.length);
    yield isText
      ? JSON.stringify(value.toString('utf8', from, to)).slice(1, -1)
      : value.toString('base64', from, to);
    from = to;
  }
  const rest = JSON.stringify(after).slice(1);
  yield `","encoding":"${encoding}"${rest === '}' ? '' : ','}${rest}`;
}

/** @returns `at`, or the end of the character that `at` would split */
function endOfCharacter(text: Buffer, at: number): number {
  let end = at;
  while (end < text.length && ((text[end] as number) & 0xc0) === 0x80) end += 1;
  return Math.min(end, text.length);
}

/** Streams `{"<name>": [<objects>], <rest>}`. */
export function arrayStream(name: string, objects: readonly WithValue[], rest: object): Readable {
  return Readable.from(inBuffers(arrayPieces(name, objects, rest)), {
    objectMode: false,
    highWaterMark: PIECE_BYTES,
  });
}

function* arrayPieces(name: string, objects: readonly WithValue[], rest: object): Generator<string> {
  yield `{${JSON.stringify(name)}:[`;
  let separator = '';
  for (const object of objects) {
    if (separator !== '') yield separator;
    separator = ',';
    yield* pieces(object);
  }
  yield `],${jsonLine(rest).slice(1)}`;
}

/** Collects text into buffers large enough to send, in slices. */
export async function* inBuffers(text: Iterable<string>): AsyncGenerator<Buffer> {
  const turns = slices();
  let collected = '';
  for (const piece of text) {
    if (turns.isOver) await turns.pass();
    collected += piece;
    if (collected.length < PIECE_BYTES) continue;
    yield Buffer.from(collected, 'utf8');
    collected = '';
  }
  if (collected !== '') yield Buffer.from(collected, 'utf8');
}
