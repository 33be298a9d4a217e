/**
 * The one way into JSON: bodies, lines of imports, values that are patched, configuration files and other nodes' answers.
 *
 * - UTF-8, with or without a byte order mark in front (RFC 8259, 8.1).
 * - At most 128 levels, and at most 200,000 values that become objects in memory.
 * - A number that a double does not hold stays as it is written.
 * - A name stands once in an object (RFC 7493, 2.3): programs differ in what they make of the second. `__proto__` is a name like
 *   others.
 *
 * What may be large is read in steps: a generator yields after about a millisecond's work, and whoever drives it decides
 * what happens meanwhile.
 */
import { isUtf8 } from 'node:buffer';
import { numberOf } from './json-number.ts';
import { JsonError, JsonScanner, OPEN_OBJECT } from './json-scanner.ts';

export { JsonError, MAX_JSON_DEPTH } from './json-scanner.ts';

/** JSON that has more values than are made of one text. */
export class JsonTooLarge extends JsonError {}

/** The most values and members of one text that become objects in memory; what stays text (`RawJson`) counts as one. */
export const MAX_JSON_VALUES = 200_000;

/** The generators yield after so many values: a fraction of a millisecond. */
const STEP_VALUES = 1_000;

const SPACE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const CLOSE_OBJECT = 0x7d;
const COMMA = 0x2c;
const COLON = 0x3a;

/** Work in steps. */
export type Steps<T> = Generator<undefined, T, undefined>;

/** Does all the steps at once. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** One value of a JSON text as it is written there; it has been checked. */
export class RawJson {
  /** A view of the text. */
  readonly bytes: Buffer;
  /** Whether there is white space between its tokens. */
  readonly hasSpaces: boolean;

  constructor(bytes: Buffer, hasSpaces: boolean) {
    this.bytes = bytes;
    this.hasSpaces = hasSpaces;
  }
}

/**
 * Which values stay text.
 * @param depth how many arrays and objects the value is in
 * @param name of the member whose value it is; in an array: empty
 * @param first the first byte of the value
 */
export type StaysText = (depth: number, name: string, first: number) => boolean;

const NEVER: StaysText = () => false;

/** Parses at once. @throws JsonError */
export function parseJson(bytes: Buffer, staysText = NEVER): unknown {
  return atOnce(jsonSteps(bytes, staysText));
}

/** Parses in steps. @returns objects, arrays, strings, numbers (`isRawJSON`: not held), booleans, null, RawJson @throws JsonError */
export function* jsonSteps(bytes: Buffer, staysText = NEVER): Steps<unknown> {
  const builder = new Builder(scannerOf(bytes), staysText);
  const value = yield* builder.value();
  endOf(builder.scanner);
  return value;
}

/** Whether the bytes are JSON, in steps, without making anything of it. */
export function* isJsonSteps(bytes: Buffer): Steps<boolean> {
  try {
    const scanner = scannerOf(bytes);
    while (!scanner.skip()) yield;
    endOf(scanner);
    return true;
  } catch (error) {
    if (error instanceof JsonError) return false;
    throw error;
  }
}

/** @returns a scanner at the beginning, behind a byte order mark @throws JsonError for what is not UTF-8 */
export function scannerOf(bytes: Buffer): JsonScanner {
  if (!isUtf8(bytes)) throw new JsonError('it is not UTF-8', 0);
  return new JsonScanner(withoutByteOrderMark(bytes));
}

export function withoutByteOrderMark(bytes: Buffer): Buffer {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

/** @throws JsonError unless nothing but white space is left */
export function endOf(scanner: JsonScanner): void {
  if (scanner.next() !== -1) throw scanner.unexpected('the end');
}

/** The string that the scanner passes next. */
export function stringOf(scanner: JsonScanner): string {
  const { at } = scanner;
  scanner.passString();
  return passedString(scanner, at);
}

/** The string that the scanner has just passed. @param start where its first quote is */
export function passedString(scanner: JsonScanner, start: number): string {
  const { bytes, at } = scanner;
  if (scanner.hasEscapes) return JSON.parse(bytes.toString('utf8', start, at)) as string;
  return bytes.toString(scanner.hasOthers ? 'utf8' : 'latin1', start + 1, at - 1);
}

/** The next member's name; the scanner stands behind the colon then. */
export function nameOf(scanner: JsonScanner): string {
  if (scanner.next() !== QUOTE) throw scanner.unexpected('the name of a member in double quotes');
  const { at } = scanner;
  scanner.passString();
  const name = scanner.hasEscapes || scanner.hasOthers ? passedString(scanner, at) : NAMES.find(scanner, at);
  scanner.expect(COLON, 'a colon');
  return name;
}

/** Names are few and come often: comparing bytes costs a fraction of making text of them. */
class NameCache {
  readonly #bytes: Buffer[] = [];
  readonly #names: string[] = [];

  /** @param start of a string in ASCII that the scanner has just passed */
  find(scanner: JsonScanner, start: number): string {
    const { bytes, at } = scanner;
    const length = at - start - 2;
    if (length === 0 || length > MAX_CACHED_BYTES) return passedString(scanner, start);
    const slot = (length * 64 + (bytes[start + 1] as number) * 8 + (bytes[at - 2] as number)) % CACHED_NAMES;
    const cached = this.#bytes[slot];
    if (cached !== undefined && cached.length === length) {
      let index = 0;
      while (index < length && cached[index] === bytes[start + 1 + index]) index += 1;
      if (index === length) return this.#names[slot] as string;
    }
    const name = passedString(scanner, start);
    this.#bytes[slot] = Buffer.from(name, 'latin1');
    this.#names[slot] = name;
    return name;
  }
}

const CACHED_NAMES = 256;
const MAX_CACHED_BYTES = 16;
const NAMES = new NameCache();

/** What is no value: `#leaf` says that an array, an object or a long text begins. */
const NO_LEAF = Symbol('no leaf');

/** Makes values of text. Recurses at most as deep as JSON may be. */
class Builder {
  readonly scanner: JsonScanner;
  readonly #staysText: StaysText;
  #values = 0;
  /** How many values had been made when the generator yielded last. */
  #yielded = 0;
  /** Where a text begins that takes more than one step to pass, and how much white space came before it. */
  #text: { readonly at: number; readonly spaces: number } | null = null;

  constructor(scanner: JsonScanner, staysText: StaysText) {
    this.scanner = scanner;
    this.#staysText = staysText;
  }

  /** The value that begins here, which is in nothing. */
  *value(): Steps<unknown> {
    const leaf = this.#leaf('');
    return leaf === NO_LEAF ? yield* this.#container() : leaf;
  }

  /** A value that is made without a generator, which costs more than most values do. */
  #leaf(name: string): unknown {
    const { scanner } = this;
    this.#values += 1;
    if (this.#values > MAX_JSON_VALUES) {
      throw new JsonTooLarge(`it has more than ${MAX_JSON_VALUES} values`, scanner.at);
    }
    const first = scanner.next();
    if (first !== -1 && this.#staysText(scanner.depth, name, first)) {
      const { at, spaces } = scanner;
      if (!scanner.skip()) {
        this.#text = { at, spaces };
        return NO_LEAF;
      }
      return new RawJson(scanner.bytes.subarray(at, scanner.at), scanner.spaces > spaces);
    }
    if (first === OPEN_OBJECT || first === OPEN_ARRAY) return NO_LEAF;
    return this.#scalar(first);
  }

  /** The array, object or long text that `#leaf` has found. */
  *#container(): Steps<unknown> {
    const { scanner } = this;
    const text = this.#text;
    if (text === null) return yield* scanner.next() === OPEN_OBJECT ? this.#object() : this.#array();
    this.#text = null;
    while (!scanner.skip()) yield;
    return new RawJson(scanner.bytes.subarray(text.at, scanner.at), scanner.spaces > text.spaces);
  }

  *#object(): Steps<object> {
    const { scanner } = this;
    const object: Record<string, unknown> = {};
    scanner.open(true);
    if (scanner.next() !== CLOSE_OBJECT) {
      for (;;) {
        const { at } = scanner;
        const name = nameOf(scanner);
        if (Object.hasOwn(object, name))
          throw new JsonError(`a member named ${quoted(name)} stands twice`, at);
        const leaf = this.#leaf(name);
        const value = leaf === NO_LEAF ? yield* this.#container() : leaf;
        if (name === '__proto__') define(object, name, value);
        else object[name] = value;
        if (this.#values - this.#yielded > STEP_VALUES) {
          this.#yielded = this.#values;
          yield;
        }
        if (scanner.next() === CLOSE_OBJECT) break;
        scanner.expect(COMMA, 'a comma or a bracket');
      }
    }
    scanner.close();
    return object;
  }

  *#array(): Steps<unknown[]> {
    const { scanner } = this;
    const array: unknown[] = [];
    scanner.open(false);
    if (scanner.next() !== CLOSE_ARRAY) {
      for (;;) {
        const leaf = this.#leaf('');
        array.push(leaf === NO_LEAF ? yield* this.#container() : leaf);
        if (this.#values - this.#yielded > STEP_VALUES) {
          this.#yielded = this.#values;
          yield;
        }
        if (scanner.next() === CLOSE_ARRAY) break;
        scanner.expect(COMMA, 'a comma or a bracket');
      }
    }
    scanner.close();
    return array;
  }

  #scalar(first: number): unknown {
    const { scanner } = this;
    if (first === QUOTE) return stringOf(scanner);
    const { at } = scanner;
    scanner.passScalar();
    switch (first) {
      case 0x74:
        return true;
      case 0x66:
        return false;
      case 0x6e:
        return null;
      default:
        return numberOf(scanner.bytes.toString('latin1', at, scanner.at));
    }
  }
}

/** Assigning `__proto__` would change what the object inherits from instead. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** The text without white space between its tokens, in a buffer of its own. Strings and numbers stay as they are written. */
export function compact({ bytes, hasSpaces }: RawJson): Buffer {
  if (!hasSpaces) return Buffer.from(bytes);
  const result = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] as number;
    if (!inString && byte <= SPACE) continue;
    result[length] = byte;
    length += 1;
    if (byte === QUOTE) inString = !inString;
    else if (byte === BACKSLASH) {
      // What it escapes may be a quote.
      at += 1;
      result[length] = bytes[at] as number;
      length += 1;
    }
  }
  return Buffer.from(result.subarray(0, length));
}

/** JSON strings are made of text in pieces of so many characters: V8 makes a long string that is full of escapes five times slower. */
const QUOTED_CHARACTERS = 64 * 1024;

/** The text as a string of JSON: as `JSON.stringify` writes it, in time that grows only with its length. */
export function quoted(text: string): string {
  if (text.length <= QUOTED_CHARACTERS) return JSON.stringify(text);
  let result = '"';
  for (let from = 0; from < text.length; ) {
    let end = Math.min(from + QUOTED_CHARACTERS, text.length);
    // Not between the two halves of a character: each would be escaped.
    if (end < text.length && (text.charCodeAt(end) & 0xfc00) === 0xdc00) end += 1;
    result += JSON.stringify(text.slice(from, end)).slice(1, -1);
    from = end;
  }
  return `${result}"`;
}
