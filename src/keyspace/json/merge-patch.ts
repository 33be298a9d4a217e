/**
 * JSON Merge Patch, RFC 7396, on text: what the patch does not name stays as it is written, byte for byte, its numbers and its
 * white space too. Nothing is made of it in memory, so that a value of 16 MiB costs about what reading it costs.
 */
import {
  compact,
  endOf,
  JsonError,
  jsonSteps,
  passedString,
  quoted,
  RawJson,
  type Steps,
  scannerOf,
} from './json.ts';
import { type JsonScanner, OPEN_OBJECT } from './json-scanner.ts';

/** What a patch says: what its objects are is known, everything else is text. */
export type Patch = RawJson | PatchObject;
interface PatchObject {
  readonly [name: string]: Patch;
}

const COMMA = 0x2c;
const COLON = 0x3a;
const QUOTE = 0x22;
const CLOSE_OBJECT = 0x7d;
const NULL = Buffer.from('null');

/** @throws JsonError for what is no JSON, too deep, or has more than 200,000 members in objects */
export function* patchSteps(bytes: Buffer): Steps<Patch> {
  return (yield* jsonSteps(bytes, (_depth, _name, first) => first !== OPEN_OBJECT)) as Patch;
}

/** What the result is made of, in order: bytes and text of JSON. */
export type Pieces = readonly (Buffer | string | Pieces)[];

/** The generator yields after so many bytes: about a millisecond. */
const STEP_BYTES = 128 * 1024;

/**
 * RFC 7396, section 2: null removes a member, objects are merged, everything else replaces.
 * @param target JSON
 * @throws JsonError if `target` is no JSON
 */
export function* mergeSteps(target: Buffer, patch: Patch): Steps<Pieces> {
  const scanner = scannerOf(target);
  const pieces = yield* merged(scanner, patch);
  endOf(scanner);
  return pieces;
}

/** How many bytes the pieces are together. */
export function byteLengthOf(pieces: Pieces): number {
  let sum = 0;
  for (const piece of flat(pieces))
    sum += typeof piece === 'string' ? Buffer.byteLength(piece) : piece.length;
  return sum;
}

/** The pieces in one buffer. */
export function joined(pieces: Pieces): Buffer {
  const result = Buffer.allocUnsafeSlow(byteLengthOf(pieces));
  let length = 0;
  for (const piece of flat(pieces)) {
    length += typeof piece === 'string' ? result.write(piece, length) : piece.copy(result, length);
  }
  return result;
}

/** Recurses as deep as the result is nested. */
function* flat(pieces: Pieces): Generator<Buffer | string> {
  for (const piece of pieces) {
    if (typeof piece === 'string' || Buffer.isBuffer(piece)) yield piece;
    else yield* flat(piece);
  }
}

/** The scanner stands before a value of the target, and passes it. @returns what becomes of the value */
function* merged(scanner: JsonScanner, patch: Patch): Steps<Pieces> {
  if (scanner.next() === OPEN_OBJECT && !(patch instanceof RawJson))
    return yield* mergedObject(scanner, patch);
  while (!scanner.skip()) yield;
  return written(patch);
}

function* mergedObject(scanner: JsonScanner, patch: PatchObject): Steps<Pieces> {
  const { bytes } = scanner;
  const names = new Names(patch);
  /** Members of the result: stretches of the target that stay, and what the patch names. */
  const members: Pieces[] = [];
  const found = new Set<string>();
  // The members that stay and are not in `members` yet: from the first one's name to the last one's value.
  let [from, to] = [0, 0];
  const keep = (): void => {
    if (to > from) members.push([bytes.subarray(from, to)]);
    [from, to] = [0, 0];
  };
  let step = scanner.at;
  scanner.open(true);
  let more = scanner.next() !== CLOSE_OBJECT;
  while (more) {
    if (scanner.next() !== QUOTE) throw scanner.unexpected('the name of a member in double quotes');
    const start = scanner.at;
    scanner.passString();
    const name = names.find(scanner, start);
    scanner.expect(COLON, 'a colon');
    if (name === null) {
      while (!scanner.skip()) yield;
      if (to === 0) from = start;
      to = scanner.at;
    } else {
      keep();
      const replacing = patch[name] as Patch;
      if (found.has(name)) throw new JsonError(`a member named ${quoted(name)} stands twice`, start);
      found.add(name);
      const value = yield* merged(scanner, replacing);
      if (!isNull(replacing)) members.push([quoted(name), ':', value]);
    }
    if (scanner.at - step > STEP_BYTES) {
      step = scanner.at;
      yield;
    }
    more = scanner.next() !== CLOSE_OBJECT;
    if (more) scanner.expect(COMMA, 'a comma or a bracket');
  }
  scanner.close();
  keep();
  const added = Object.keys(patch).filter((name) => !found.has(name));
  return inBraces([...members, ...added.map((name) => memberOf(name, patch[name] as Patch))]);
}

/** What a patch leaves where there was nothing to merge it with: itself without the members that are null. */
function written(patch: Patch): Pieces {
  if (patch instanceof RawJson) return [patch.hasSpaces ? compact(patch) : patch.bytes];
  return inBraces(Object.entries(patch).map(([name, value]) => memberOf(name, value)));
}

function memberOf(name: string, value: Patch): Pieces {
  return isNull(value) ? [] : [quoted(name), ':', written(value)];
}

/** @param members those that are empty are left out */
function inBraces(members: readonly Pieces[]): Pieces {
  const pieces: Pieces[number][] = [];
  for (const member of members) if (member.length > 0) pieces.push(pieces.length === 0 ? '{' : ',', member);
  pieces.push(pieces.length === 0 ? '{}' : '}');
  return pieces;
}

function isNull(patch: Patch): boolean {
  return patch instanceof RawJson && patch.bytes.equals(NULL);
}

/** The names of a patch's members, to be found among those of the target without making text of each. */
class Names {
  readonly #names: ReadonlySet<string>;
  /** Length and last byte of each name, as UTF-8. */
  readonly #marks = new Set<number>();

  constructor(patch: PatchObject) {
    this.#names = new Set(Object.keys(patch));
    for (const name of this.#names) {
      const bytes = Buffer.from(name, 'utf8');
      this.#marks.add(markOf(bytes, 0, bytes.length));
    }
  }

  /** @param start of a string that the scanner has just passed @returns the string if it is one of the names, or null */
  find(scanner: JsonScanner, start: number): string | null {
    if (!scanner.hasEscapes && !this.#marks.has(markOf(scanner.bytes, start + 1, scanner.at - 1)))
      return null;
    const name = passedString(scanner, start);
    return this.#names.has(name) ? name : null;
  }
}

function markOf(bytes: Buffer, start: number, end: number): number {
  return (end - start) * 256 + (end > start ? (bytes[end - 1] as number) : 0);
}
