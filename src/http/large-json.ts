/** Answers in JSON with large values: written piece by piece while they are sent, in slices. */
import { Readable } from 'node:stream';
import { encodingSteps, toJsonValue } from '../keyspace/json-value.ts';
import { AT_ONCE_BYTES, slices } from './slices.ts';

/** So many bytes of a value become text at once; a multiple of three, so that base64 can be joined. */
const PIECE_BYTES = 48 * 1024;

/** An object with a value in it, which may be large. */
export interface WithValue {
  /** The members before the value; at least one. */
  readonly before: object;
  /** Null: it has none. */
  readonly value: Buffer | null;
  /** The members after the value. */
  readonly after: object;
}

/** The object as a whole. */
export function whole({ before, value, after }: WithValue): object {
  return value === null ? { ...before, ...after } : { ...before, ...toJsonValue(value), ...after };
}

/** Whether the values are so few bytes together that they are written at once. */
export function areSmall(objects: readonly WithValue[]): boolean {
  let bytes = 0;
  for (const { value } of objects) bytes += value?.length ?? 0;
  return bytes <= AT_ONCE_BYTES;
}

/** The object's JSON in pieces, none of which takes longer than about a millisecond. */
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

/** @returns `at`, or the end of the character that it is in the middle of */
function endOfCharacter(text: Buffer, at: number): number {
  let end = at;
  while (end < text.length && ((text[end] as number) & 0xc0) === 0x80) end += 1;
  return Math.min(end, text.length);
}

/** `{"<name>": [<objects>], <rest>}` as a stream. */
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
  yield `],${JSON.stringify(rest).slice(1)}`;
}

/** Text in buffers that are worth sending, in slices. */
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
