/**
 * An incremental parser of RESP2 arrays of bulk strings, the only RESP between psyncd's nodes.
 *
 * Owns the bytes of one incomplete command, and the state of its parsing. Invariant: the result of `next` depends on
 * the bytes alone, never on how they were divided into messages.
 *
 * The time for a command is proportional to its length, however many pieces it arrives in: the parser collects the
 * bytes in a buffer that doubles, or has the known size of the next string, and never parses a byte twice. A piece with
 * whole commands only is not copied.
 */
import { ProtocolError } from './protocol-error.ts';

export interface RespLimits {
  /** Largest number of elements in one array. */
  readonly maxElements: number;
  /** Longest element in bytes. */
  readonly maxBulkBytes: number;
  /** Longest array in bytes on the wire. */
  readonly maxArrayBytes: number;
}

/**
 * One complete array. It lies in `buffer` from `start`; views are made on demand only, because a Buffer costs more than
 * reading most commands.
 */
export class RespArray {
  readonly buffer: Buffer;
  readonly start: number;
  /** Number of bytes on the wire. */
  readonly size: number;
  /** Begin and end of each element, counted from `start`. */
  readonly #ranges: readonly number[];

  constructor(buffer: Buffer, start: number, size: number, ranges: readonly number[]) {
    this.buffer = buffer;
    this.start = start;
    this.size = size;
    this.#ranges = ranges;
  }

  /** Number of elements. */
  get length(): number {
    return this.#ranges.length / 2;
  }

  /** Number of bytes of an element. */
  sizeOf(index: number): number {
    return this.#to(index) - this.#from(index);
  }

  /** An element as a view into the received bytes. */
  bytes(index: number): Buffer {
    return this.buffer.subarray(this.#from(index), this.#to(index));
  }

  /** The first `maxBytes` of an element as text. */
  text(index: number, encoding: 'latin1' | 'utf8', maxBytes = Number.POSITIVE_INFINITY): string {
    const from = this.#from(index);
    return this.buffer.toString(encoding, from, Math.min(this.#to(index), from + maxBytes));
  }

  /** Whether an element is exactly this ASCII text. */
  is(index: number, text: string): boolean {
    if (this.sizeOf(index) !== text.length) return false;
    const from = this.#from(index);
    for (let at = 0; at < text.length; at += 1) {
      if (this.buffer[from + at] !== text.charCodeAt(at)) return false;
    }
    return true;
  }

  get elements(): readonly Buffer[] {
    return Array.from({ length: this.length }, (_, index) => this.bytes(index));
  }

  /** All bytes of the array on the wire. */
  get raw(): Buffer {
    return this.buffer.subarray(this.start, this.start + this.size);
  }

  #from(index: number): number {
    return this.start + (this.#ranges[2 * index] as number);
  }

  #to(index: number): number {
    return this.start + (this.#ranges[2 * index + 1] as number);
  }
}

const CR = 0x0d;
const LF = 0x0a;
const ASTERISK = 0x2a;
const DOLLAR = 0x24;
const ZERO = 0x30;
/** Number of pieces that are kept before they are joined: each is an object, and they may be tiny. */
const MAX_PIECES = 64;
/** Length of `*` or `$`, up to ten digits, and CR LF. */
const MAX_HEADER_BYTES = 13;
const EMPTY = Buffer.alloc(0);

export class RespParser {
  readonly #limits: RespLimits;
  /** Bytes [#start, #end) have arrived and were not returned yet; the space after #end is free. */
  #buffer: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Number of bytes needed before another attempt is useful. */
  #need = 1;
  /**
   * For the command at #start: its number of elements (null: not known yet), and the places of those that have arrived.
   */
  #count: number | null = null;
  #ranges: number[] = [];
  /** Number of its bytes that are parsed. */
  #understood = 0;
  /** End of the last header, counted from #start. */
  #headerEnd = 0;

  constructor(limits: RespLimits) {
    this.#limits = limits;
  }

  /** Number of bytes that were pushed and not yet returned by `next`. */
  get bufferedBytes(): number {
    return this.#end - this.#start + this.#waitingBytes;
  }

  /** Adds received bytes. The parser keeps views into them: the caller must not change them afterwards. */
  push(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waiting.length >= MAX_PIECES) this.#collect();
  }

  /**
   * Takes the next complete array.
   * @returns the array, or null when more bytes are needed
   * @throws ProtocolError when the bytes cannot become an array within the limits
   */
  next(): RespArray | null {
    if (this.bufferedBytes < this.#need) return null;
    this.#collect();
    if (!this.#understand()) return null;
    const array = new RespArray(this.#buffer, this.#start, this.#understood, this.#ranges);
    this.#start += this.#understood;
    this.#need = 1;
    this.#count = null;
    this.#ranges = [];
    this.#understood = 0;
    return array;
  }

  /** Appends the pushed pieces to the buffer. */
  #collect(): void {
    if (this.#waitingBytes === 0) return;
    const rest = this.#end - this.#start;
    if (rest === 0 && this.#waiting.length === 1) {
      this.#buffer = this.#waiting[0] as Buffer;
      this.#start = 0;
      this.#end = this.#buffer.length;
    } else {
      this.#makeRoom(rest);
      for (const bytes of this.#waiting) this.#end += bytes.copy(this.#buffer, this.#end);
    }
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  /** Makes room for the waiting pieces after #end, in memory of the parser's own. */
  #makeRoom(rest: number): void {
    if (this.#isOwn && this.#buffer.length - this.#end >= this.#waitingBytes) return;
    const wanted = rest + this.#waitingBytes;
    const own = Buffer.allocUnsafeSlow(this.#need > wanted ? this.#need : wanted * 2);
    this.#buffer.copy(own, 0, this.#start, this.#end);
    this.#buffer = own;
    this.#start = 0;
    this.#end = rest;
  }

  /** Whether the buffer is the parser's own: only then it has room after #end. */
  get #isOwn(): boolean {
    return this.#buffer.length > this.#end;
  }

  /**
   * Continues parsing.
   * @returns whether the command is complete
   */
  #understand(): boolean {
    if (this.#count === null) {
      const count = this.#header(ASTERISK);
      if (count === null) return false;
      if (count < 1 || count > this.#limits.maxElements) {
        throw new ProtocolError(
          `an array of ${count} elements; allowed are 1 to ${this.#limits.maxElements}`,
        );
      }
      this.#count = count;
      this.#understood = this.#headerEnd;
    }
    while (this.#ranges.length < 2 * this.#count) {
      const size = this.#header(DOLLAR);
      if (size === null) return false;
      if (size > this.#limits.maxBulkBytes) {
        throw new ProtocolError(`a string of ${size} bytes; the limit is ${this.#limits.maxBulkBytes}`);
      }
      const from = this.#headerEnd;
      const to = from + size;
      if (to + 2 > this.#limits.maxArrayBytes) {
        throw new ProtocolError(`an array of more than ${this.#limits.maxArrayBytes} bytes`);
      }
      if (this.#start + to + 2 > this.#end) {
        this.#need = to + 2;
        return false;
      }
      if (this.#buffer[this.#start + to] !== CR || this.#buffer[this.#start + to + 1] !== LF) {
        throw new ProtocolError('a string is not followed by CR LF');
      }
      this.#ranges.push(from, to);
      this.#understood = to + 2;
    }
    return true;
  }

  /**
   * Reads `*<n>CRLF` or `$<n>CRLF` at the current place.
   * @returns n, or null when it is incomplete
   */
  #header(type: number): number | null {
    const buffer = this.#buffer;
    const at = this.#start + this.#understood;
    let index = at;
    if (index < this.#end && buffer[index] !== type) {
      throw new ProtocolError(`expected '${String.fromCharCode(type)}', got another byte`);
    }
    index += 1;
    let value = 0;
    const digitsFrom = index;
    while (index < this.#end) {
      const byte = buffer[index] as number;
      if (byte === CR) break;
      const digit = byte - 0x30;
      if (digit < 0 || digit > 9 || index - at > MAX_HEADER_BYTES - 3) {
        throw new ProtocolError('a length is not a decimal number');
      }
      value = value * 10 + digit;
      index += 1;
    }
    if (index + 1 >= this.#end) {
      this.#need = this.#end - this.#start + 1;
      return null;
    }
    if (index === digitsFrom) throw new ProtocolError('a length is missing');
    // Like Redis, accepts only one spelling of each number.
    if (buffer[digitsFrom] === ZERO && index > digitsFrom + 1) {
      throw new ProtocolError('a length begins with a zero');
    }
    if (buffer[index + 1] !== LF) throw new ProtocolError('a length is not followed by CR LF');
    this.#headerEnd = index + 2 - this.#start;
    return value;
  }
}
