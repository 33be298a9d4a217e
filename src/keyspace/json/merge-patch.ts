/**
 * JSON Merge Patch (RFC 7396) on text: members that the patch does not name stay byte for byte, with their numbers and
 * white space. It builds no objects in memory, so patching a value of 16 MiB costs about as much as reading it.
 */
import { endOf, JsonError, jsonSteps, passedString, type Steps, scannerOf } from './json.ts';
import { type JsonScanner, OPEN_OBJECT } from './json-scanner.ts';
import { compact, quoted, RawJson } from './json-text.ts';

/** A parsed patch: its objects are parsed, and all other values stay text. */
export type Patch = RawJson | PatchObject;
interface PatchObject {
  readonly [name: string]: Patch;
}

const COMMA = 0x2c;
const COLON = 0x3a;
const QUOTE = 0x22;
const CLOSE_OBJECT = 0x7d;
const NULL = Buffer.from('null');

/** @throws JsonError for malformed JSON, too many levels, or more than 200,000 members of objects */
export function* patchSteps(bytes: Buffer): Steps<Patch> {
  return (yield* jsonSteps(bytes, (_depth, _name, first) => first !== OPEN_OBJECT)) as Patch;
}

/** Parts of the result in order: bytes and text of JSON. */
export type Pieces = readonly (Buffer | string | Pieces)[];

/** Number of bytes after which the generator yields: about a millisecond. */
const STEP_BYTES = 128 * 1024;

/**
 * Applies a patch (RFC 7396, section 2): null removes a member, objects are merged, and any other value replaces.
 * @param target JSON
 * @throws JsonError if `target` is not JSON
 */
export function* mergeSteps(target: Buffer, patch: Patch): Steps<Pieces> {
  const scanner = scannerOf(target);
  const pieces = yield* merged(scanner, patch);
  endOf(scanner);
  return pieces;
}

/** Returns the total length of the pieces in bytes. */
export function byteLengthOf(pieces: Pieces): number {
  let sum = 0;
  for (const piece of flat(pieces))
    sum += typeof piece === 'string' ? Buffer.byteLength(piece) : piece.length;
  return sum;
}

/** Joins the pieces into one buffer. */
export function joined(pieces: Pieces): Buffer {
  const result = Buffer.allocUnsafeSlow(byteLengthOf(pieces));
  let length = 0;
  for (const piece of flat(pieces)) {
    length += typeof piece === 'string' ? result.write(piece, length) : piece.copy(result, length);
  }
  return result;
}

/** Flattens the pieces; the recursion is as deep as the result is nested. */
function* flat(pieces: Pieces): Generator<Buffer | string> {
  for (const piece of pieces) {
    if (typeof piece === 'string' || Buffer.isBuffer(piece)) yield piece;
    else yield* flat(piece);
  }
}

/**
 * Passes the value of the target at the scanner.
 * @returns the value after the patch
 */
function* merged(scanner: JsonScanner, patch: Patch): Steps<Pieces> {
  if (scanner.next() === OPEN_OBJECT && !(patch instanceof RawJson))
    return yield* mergedObject(scanner, patch);
  while (!scanner.skip()) yield;
  return written(patch);
}

function* mergedObject(scanner: JsonScanner, patch: PatchObject): Steps<Pieces> {
  const { bytes } = scanner;
  const names = new Names(patch);
  /** Members of the result: runs of unchanged members, and the members that the patch names. */
  const members: Pieces[] = [];
  const found = new Set<string>();
  // Unchanged members that are not in `members` yet: from the first one's name to the last one's value.
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

/** Applies a patch where the target has no object: the patch itself, without members that are null. */
function written(patch: Patch): Pieces {
  if (patch instanceof RawJson) return [patch.hasSpaces ? compact(patch) : patch.bytes];
  return inBraces(Object.entries(patch).map(([name, value]) => memberOf(name, value)));
}

function memberOf(name: string, value: Patch): Pieces {
  return isNull(value) ? [] : [quoted(name), ':', written(value)];
}

/** @param members empty ones are left out */
function inBraces(members: readonly Pieces[]): Pieces {
  const pieces: Pieces[number][] = [];
  for (const member of members) if (member.length > 0) pieces.push(pieces.length === 0 ? '{' : ',', member);
  pieces.push(pieces.length === 0 ? '{}' : '}');
  return pieces;
}

function isNull(patch: Patch): boolean {
  return patch instanceof RawJson && patch.bytes.equals(NULL);
}

/** The names of a patch's members, for a search among the target's names that decodes only likely matches. */
class Names {
  readonly #names: ReadonlySet<string>;
  /** Length and last byte of each name in UTF-8. */
  readonly #marks = new Set<number>();

  constructor(patch: PatchObject) {
    this.#names = new Set(Object.keys(patch));
    for (const name of this.#names) {
      const bytes = Buffer.from(name, 'utf8');
      this.#marks.add(markOf(bytes, 0, bytes.length));
    }
  }

  /**
   * @param start offset of a string that the scanner has just passed
   * @returns the string if it is one of the names, and otherwise null
   */
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
