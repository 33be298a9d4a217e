/**
 * Scans JSON (RFC 8259) from front to back, once, as bytes. Each step of a loop consumes at least one byte, so the time
 * is proportional to the length, whatever the text.
 */

/** Deepest nesting of arrays and objects. Deeper JSON is refused, because recursive code would run out of stack. */
export const MAX_JSON_DEPTH = 128;

/** An error in JSON. The message says what is wrong, in plain English. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
  /** Offset of the byte, counted from 0. */
  readonly at: number;

  constructor(detail: string, at: number) {
    super(detail);
    this.at = at;
  }

  /** Says what is wrong, and where. */
  get detail(): string {
    return `${this.message} (at byte ${this.at})`;
  }
}

const QUOTE = 0x22;
const MINUS = 0x2d;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
export const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** States of `skip`: what it expects next. */
const VALUE = 0;
const VALUE_OR_END = 1;
const AFTER_VALUE = 2;
const NAME = 3;
const NAME_OR_END = 4;
const AFTER_NAME = 5;

const IDLE = -1;

/** Number of bytes after which `skip` returns, except within a longer string or number: about a millisecond. */
const SKIP_BYTES = 128 * 1024;

/** A place in a JSON text, with facts about the part before it. */
export class JsonScanner {
  readonly bytes: Buffer;
  /** Offset of the next byte. */
  at = 0;
  /** Number of open arrays and objects. */
  depth = 0;
  /** Number of bytes of white space between the tokens so far. */
  spaces = 0;
  /**
   * Facts about the last string that `passString` passed: whether it has a backslash, and whether it has bytes beyond
   * ASCII.
   */
  hasEscapes = false;
  hasOthers = false;
  /** For each open container, by depth: true for an object, false for an array. */
  readonly #isObject: boolean[] = [];
  /** State in which `skip` continues; IDLE: it begins with a value. */
  #expected = IDLE;
  /** Depth at which the value that `skip` passes began. */
  #floor = 0;

  /** @param bytes valid UTF-8; the caller has checked that */
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /**
   * Passes white space.
   * @returns the next byte, or -1 at the end
   */
  next(): number {
    const { bytes } = this;
    let at = this.at;
    while (at < bytes.length && isSpace(bytes[at] as number)) at += 1;
    this.spaces += at - this.at;
    this.at = at;
    return at < bytes.length ? (bytes[at] as number) : -1;
  }

  /**
   * Passes white space and this byte.
   * @throws JsonError if another byte comes
   */
  expect(byte: number, what: string): void {
    if (this.next() !== byte) throw this.unexpected(what);
    this.at += 1;
  }

  /**
   * Passes the opening bracket of an array or object.
   * @throws JsonError beyond the deepest level
   */
  open(isObject: boolean): void {
    if (this.depth === MAX_JSON_DEPTH) {
      throw new JsonError(`it is nested more than ${MAX_JSON_DEPTH} levels`, this.at);
    }
    this.depth += 1;
    this.#isObject[this.depth] = isObject;
    this.at += 1;
  }

  /** Passes a closing bracket. */
  close(): void {
    this.depth -= 1;
    this.at += 1;
  }

  /**
   * Passes one value with everything in it, a part per call.
   * @returns true at the end of the value; false: call again
   * @throws JsonError
   */
  skip(): boolean {
    if (this.#expected === IDLE) {
      this.#expected = VALUE;
      this.#floor = this.depth;
    }
    const limit = this.at + SKIP_BYTES;
    const { bytes } = this;
    let expected = this.#expected;
    while (this.at < limit) {
      if (this.at >= bytes.length) throw this.unexpected('more');
      const byte = bytes[this.at] as number;
      if (isSpace(byte)) {
        this.at += 1;
        this.spaces += 1;
        continue;
      }
      if (byte === OPEN_ARRAY && expected <= VALUE_OR_END) {
        this.open(false);
        expected = VALUE_OR_END;
        continue;
      }
      if (byte === OPEN_OBJECT && expected <= VALUE_OR_END) {
        this.open(true);
        expected = NAME_OR_END;
        continue;
      }
      if (byte === QUOTE && (expected === NAME || expected === NAME_OR_END)) {
        this.passString();
        expected = AFTER_NAME;
        continue;
      }
      if (expected === AFTER_NAME) {
        if (byte !== COLON) throw this.unexpected('a colon');
        this.at += 1;
        expected = VALUE;
        continue;
      }
      if (expected === AFTER_VALUE && byte === COMMA) {
        this.at += 1;
        expected = this.#isObject[this.depth] === true ? NAME : VALUE;
        continue;
      }
      // Only the end of an array or a scalar value may come here.
      if (expected <= VALUE_OR_END && byte !== CLOSE_ARRAY) this.passScalar();
      else if (byte === this.#closing(expected)) this.close();
      else throw this.unexpected(EXPECTED[expected] as string);
      if (this.depth === this.#floor) {
        this.#expected = IDLE;
        return true;
      }
      expected = AFTER_VALUE;
    }
    this.#expected = expected;
    return false;
  }

  /** Closing bracket that is allowed here, or -1. */
  #closing(expected: number): number {
    if (expected === AFTER_VALUE) return this.#isObject[this.depth] === true ? CLOSE_OBJECT : CLOSE_ARRAY;
    if (expected === NAME_OR_END) return CLOSE_OBJECT;
    return expected === VALUE_OR_END ? CLOSE_ARRAY : -1;
  }

  /**
   * Passes a string, a number, true, false or null.
   * @throws JsonError for anything else
   */
  passScalar(): void {
    const byte = this.at < this.bytes.length ? (this.bytes[this.at] as number) : -1;
    if (byte === QUOTE) this.passString();
    else if (byte === MINUS || isDigit(byte)) this.#passNumber();
    else if (byte === 0x74) this.#passLiteral('true');
    else if (byte === 0x66) this.#passLiteral('false');
    else if (byte === 0x6e) this.#passLiteral('null');
    else throw this.unexpected('a value');
  }

  /**
   * Passes a string with its quotes.
   * @throws JsonError
   */
  passString(): void {
    const { bytes } = this;
    const { length } = bytes;
    let at = this.at + 1;
    let bits = 0;
    let escapes = false;
    for (;;) {
      if (at >= length) throw new JsonError('a string does not end', this.at);
      const byte = bytes[at] as number;
      if (byte === QUOTE) break;
      if (byte === BACKSLASH) {
        escapes = true;
        at = this.#passEscape(at);
        continue;
      }
      if (byte < 0x20) throw new JsonError('a control character in a string is not escaped', at);
      bits |= byte;
      at += 1;
    }
    this.hasEscapes = escapes;
    this.hasOthers = bits >= 0x80;
    this.at = at + 1;
  }

  /** @returns the offset after the escape that begins at `at` */
  #passEscape(at: number): number {
    const { bytes } = this;
    const letter = bytes[at + 1];
    switch (letter) {
      case QUOTE:
      case BACKSLASH:
      case 0x2f: // "/"
      case 0x62: // b
      case 0x66: // f
      case 0x6e: // n
      case 0x72: // r
      case 0x74: // t
        return at + 2;
      case 0x75: // u
        for (let digit = at + 2; digit < at + 6; digit += 1) {
          if (!isHexDigit(bytes[digit] ?? -1)) throw new JsonError('an escape is not one of JSON', at);
        }
        return at + 6;
      default:
        throw new JsonError('an escape is not one of JSON', at);
    }
  }

  #passNumber(): void {
    const { bytes } = this;
    const first = bytes[this.at] === MINUS ? this.at + 1 : this.at;
    let at = bytes[first] === 0x30 ? first + 1 : this.#endOfDigits(first);
    if (bytes[at] === 0x2e) at = this.#endOfDigits(at + 1);
    if (bytes[at] === 0x65 || bytes[at] === 0x45) {
      const sign = bytes[at + 1];
      at = this.#endOfDigits(sign === 0x2b || sign === MINUS ? at + 2 : at + 1);
    }
    this.at = at;
  }

  /**
   * @returns the offset after the digits that begin at `from`
   * @throws JsonError if there are none
   */
  #endOfDigits(from: number): number {
    const { bytes } = this;
    let at = from;
    while (at < bytes.length && isDigit(bytes[at] as number)) at += 1;
    if (at === from) throw new JsonError('a number is not one of JSON', this.at);
    return at;
  }

  #passLiteral(literal: string): void {
    for (let index = 0; index < literal.length; index += 1) {
      if (this.bytes[this.at + index] !== literal.charCodeAt(index)) throw this.unexpected('a value');
    }
    this.at += literal.length;
  }

  /** @param what what was expected here */
  unexpected(what: string): JsonError {
    const { bytes, at } = this;
    if (at >= bytes.length) return new JsonError(`${what} was expected, and it ends`, at);
    // Shows the whole character, not only its first byte.
    const [found] = bytes.toString('utf8', at, at + 4);
    return new JsonError(`${what} was expected, not ${JSON.stringify(found)}`, at);
  }
}

const EXPECTED: readonly string[] = [
  'a value',
  'a value or a bracket',
  'a comma or a bracket',
  'the name of a member in double quotes',
  'the name of a member in double quotes',
  'a colon',
];

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function isHexDigit(byte: number): boolean {
  return isDigit(byte) || (byte >= 0x61 && byte <= 0x66) || (byte >= 0x41 && byte <= 0x46);
}
