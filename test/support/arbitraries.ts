/** What the property tests draw from, and the smallest model of a keyspace that they compare with. */
import fc from 'fast-check';
import type { Entry } from '../../src/keyspace/entry.ts';
import { parseRunId, type RunId } from '../../src/replication/position.ts';
import { assertNever, type Command } from '../../src/stream/command.ts';

/** A run ID of one hex digit, forty times. */
export function runId(digit: string): RunId {
  const id = parseRunId(digit.repeat(40));
  if (id === null) throw new Error(`${digit} is no hex digit`);
  return id;
}

/** Where UTF-16 and UTF-8 disagree about order, and where a byte more is needed. */
const EDGES = ['a', 'b', '/', '\u007f', '\u0080', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\ufffd', '\uffff'];
const ASTRAL = ['\u{10000}', '\u{1f600}', '\u{1f601}', '\u{10ffff}'];

/** Any character; not fast-check's own `unit: 'binary'`, which takes 0.7 s to build its tables. */
const anyCharacter = fc
  .oneof(fc.integer({ min: 0, max: 0xd7ff }), fc.integer({ min: 0xe000, max: 0x10ffff }))
  .map((codePoint) => String.fromCodePoint(codePoint));

/** Well-formed text in which the interesting characters are frequent. */
export function text(minLength: number, maxLength: number): fc.Arbitrary<string> {
  const unit = fc.oneof(fc.constantFrom(...EDGES, ...ASTRAL), anyCharacter);
  return fc.array(unit, { minLength, maxLength }).map((characters) => characters.join(''));
}

export const anyKey = text(1, 8);

/** Bytes, among them such as look like the protocol around them. */
export const anyValue: fc.Arbitrary<Buffer> = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom('\r\n', '*1\r\n$4\r\nEXEC\r\n', '$0\r\n\r\n', '\n').map((bytes) => Buffer.from(bytes)),
);

export function anyCommand(
  key: fc.Arbitrary<string>,
  time: fc.Arbitrary<number> = fc.maxSafeNat(),
): fc.Arbitrary<Command> {
  const keys = fc.array(key, { minLength: 1, maxLength: 3 });
  return fc.oneof(
    {
      weight: 5,
      arbitrary: fc.tuple(key, anyValue, fc.option(time)).map(([name, value, expiresAt]): Command => {
        return { kind: 'set', key: name, value, expiresAt };
      }),
    },
    { weight: 2, arbitrary: keys.map((names): Command => ({ kind: 'del', keys: names })) },
    {
      weight: 2,
      arbitrary: fc.tuple(key, time).map(([name, expiresAt]): Command => {
        return { kind: 'expire-at', key: name, expiresAt };
      }),
    },
    { weight: 1, arbitrary: key.map((name): Command => ({ kind: 'persist', key: name })) },
    { weight: 1, arbitrary: fc.constant<Command>({ kind: 'flush-all' }) },
  );
}

/** Places to cut at; `cutAt` brings them into range. */
export const anyCuts = fc.array(fc.nat(), { maxLength: 12 });

/** The bytes in pieces, none of them empty. */
export function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...places]
    .map((from, index) => bytes.subarray(from, places[index] ?? bytes.length))
    .filter((piece) => piece.length > 0);
}

/** Every way to cut the bytes in two, the whole, and one byte at a time. */
export function* everySplit(bytes: Buffer): Generator<Buffer[]> {
  for (let cut = 0; cut < bytes.length; cut += 1) yield cutAt(bytes, [cut]);
  yield Array.from(bytes, (_, index) => bytes.subarray(index, index + 1));
}

export type Keyspace = ReadonlyMap<string, Entry>;

/** The keyspace after one more command, which ends at offset `version`. */
export function after(before: Keyspace, command: Command, version: number): Keyspace {
  const state = new Map(before);
  switch (command.kind) {
    case 'set':
      return state.set(command.key, { value: command.value, version, expiresAt: command.expiresAt });
    case 'del':
      for (const key of command.keys) state.delete(key);
      return state;
    case 'expire-at':
    case 'persist': {
      const entry = state.get(command.key);
      const expiresAt = command.kind === 'persist' ? null : command.expiresAt;
      return entry === undefined ? state : state.set(command.key, { ...entry, expiresAt });
    }
    case 'flush-all':
      return new Map();
    default:
      return assertNever(command);
  }
}

/** What JSON writes as it is, escapes with one more byte, and with five more; and what is not UTF-8. */
const anyPart = fc.constantFrom(
  'a',
  'é',
  '😀',
  '"',
  '\\',
  '\n',
  '\u0000',
  '\u0001',
  '\u001f',
  '\u007f',
  '\u2028',
);
const anyBytes = fc
  .array(fc.tuple(anyPart, fc.nat({ max: 40_000 })), { maxLength: 6 })
  .map((parts) => Buffer.from(parts.map(([part, times]) => part.repeat(times)).join(''), 'utf8'));
/** Values, long and short, of which JSON escapes little or much. */
export const anyJsonBytes: fc.Arbitrary<Buffer> = fc.oneof(
  anyBytes,
  fc.uint8Array({ maxLength: 100 }).map(Buffer.from),
);
