/**
 * The only JSON parser of the program: for bodies, lines of imports, patched values, configuration files and answers of
 * other nodes.
 * - It accepts UTF-8, with or without a byte order mark (RFC 8259, 8.1).
 * - It allows at most 128 levels, and at most 200,000 values that become objects in memory.
 * - It keeps a number as it is written if a double cannot hold it.
 * - It refuses a repeated name in an object (RFC 7493, 2.3), because programs disagree about its meaning. `__proto__`
 * is an ordinary name.
 *
 * It reads large texts in steps: a generator yields after about a millisecond's work, and its caller decides what
 * happens in between.
 */
import { isUtf8 } from 'node:buffer';
import { numberOf } from './json-number.ts';
import { JsonError, JsonScanner, OPEN_OBJECT } from './json-scanner.ts';
import { quoted, RawJson } from './json-text.ts';

export { JsonError, MAX_JSON_DEPTH } from './json-scanner.ts';

/** An error for JSON with more values than one text may have. */
export class JsonTooLarge extends JsonError {}

/**
 * Largest number of values and members of one text that become objects in memory; a value that stays text (`RawJson`)
 * counts as one.
 */
export const MAX_JSON_VALUES = 200_000;

/** Number of values after which the generators yield: a fraction of a millisecond. */
const STEP_VALUES = 1_000;

const QUOTE = 0x22;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const CLOSE_OBJECT = 0x7d;
const COMMA = 0x2c;
const COLON = 0x3a;

/** Work that is done in steps. */
export type Steps<T> = Generator<undefined, T, undefined>;

/** Runs all steps at once. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/**
 * Selects the values that stay text.
 * @param depth number of arrays and objects around the value
 * @param name name of the member; empty within an array
 * @param first first byte of the value
 */
export type StaysText = (depth: number, name: string, first: number) => boolean;

const NEVER: StaysText = () => false;

/**
 * Parses a text at once.
 * @throws JsonError
 */
export function parseJson(bytes: Buffer, staysText = NEVER): unknown {
  return atOnce(jsonSteps(bytes, staysText));
}

/**
 * Parses a text in steps.
 * @returns objects, arrays, strings, numbers (`isRawJSON`: kept as written), booleans, null or RawJson
 * @throws JsonError
 */
export function* jsonSteps(bytes: Buffer, staysText = NEVER): Steps<unknown> {
  const builder = new Builder(scannerOf(bytes), staysText);
  const value = yield* builder.value();
  endOf(builder.scanner);
  return value;
}

/** Whether the bytes are JSON; in steps, without building values. */
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

/**
 * @returns a scanner at the beginning, after any byte order mark
 * @throws JsonError if the bytes are not UTF-8
 */
export function scannerOf(bytes: Buffer): JsonScanner {
  if (!isUtf8(bytes)) throw new JsonError('it is not UTF-8', 0);
  return new JsonScanner(withoutByteOrderMark(bytes));
}

export function withoutByteOrderMark(bytes: Buffer): Buffer {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

/** @throws JsonError if anything but white space is left */
export function endOf(scanner: JsonScanner): void {
  if (scanner.next() !== -1) throw scanner.unexpected('the end');
}

/** Passes the next string and returns it. */
export function stringOf(scanner: JsonScanner): string {
  const { at } = scanner;
  scanner.passString();
  return passedString(scanner, at);
}

/**
 * Returns the string that the scanner has just passed.
 * @param start offset of its opening quote
 */
export function passedString(scanner: JsonScanner, start: number): string {
  const { bytes, at } = scanner;
  if (scanner.hasEscapes) return JSON.parse(bytes.toString('utf8', start, at)) as string;
  return bytes.toString(scanner.hasOthers ? 'utf8' : 'latin1', start + 1, at - 1);
}

/** Passes the next member's name and its colon, and returns the name. */
export function nameOf(scanner: JsonScanner): string {
  if (scanner.next() !== QUOTE) throw scanner.unexpected('the name of a member in double quotes');
  const { at } = scanner;
  scanner.passString();
  const name = scanner.hasEscapes || scanner.hasOthers ? passedString(scanner, at) : NAMES.find(scanner, at);
  scanner.expect(COLON, 'a colon');
  return name;
}

/** Caches the names of members: they repeat often, and comparing bytes costs a fraction of decoding them. */
class NameCache {
  readonly #bytes: Buffer[] = [];
  readonly #names: string[] = [];

  /** @param start offset of an ASCII string that the scanner has just passed */
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

/** Returned by `#leaf` when an array, an object or a long text begins. */
const NO_LEAF = Symbol('no leaf');

/** Builds values from text. The recursion is at most as deep as JSON may be. */
class Builder {
  readonly scanner: JsonScanner;
  readonly #staysText: StaysText;
  #values = 0;
  /** Number of values at the last yield. */
  #yielded = 0;
  /** Start of a text that takes more than one step to pass, and the white space before it. */
  #text: { readonly at: number; readonly spaces: number } | null = null;

  constructor(scanner: JsonScanner, staysText: StaysText) {
    this.scanner = scanner;
    this.#staysText = staysText;
  }

  /** Builds the outermost value. */
  *value(): Steps<unknown> {
    const leaf = this.#leaf('');
    return leaf === NO_LEAF ? yield* this.#container() : leaf;
  }

  /** Builds a value without a generator, which would cost more than most values do. */
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

  /** Builds the array, object or long text that `#leaf` has found. */
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

/** Defines a member. Assigning `__proto__` would change the object's prototype instead. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}
