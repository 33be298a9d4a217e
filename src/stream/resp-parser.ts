/**
 * An incremental parser of RESP2 arrays of bulk strings, the only RESP that psyncd's peers send each other.
 *
 * Owns: the bytes of one command that has not arrived completely.
 * Invariant: what `next` returns depends on the bytes alone, never on how they were cut into messages.
 *
 * Bytes are joined only when enough of them are there for the parser to get further, so that a 16 MiB value
 * which arrives in 256 pieces is copied once and not 256 times.
 */
import { ProtocolError } from './protocol-error.ts';

export interface RespLimits {
  /** Most elements that one array may have. */
  readonly maxElements: number;
  /** Most bytes that one element may have. */
  readonly maxBulkBytes: number;
}

/** One complete array: its elements as views into the received bytes, and the bytes that it took on the wire. */
export interface RespArray {
  readonly elements: readonly Buffer[];
  readonly raw: Buffer;
}

const CR = 0x0d;
const LF = 0x0a;
const ASTERISK = 0x2a;
const DOLLAR = 0x24;
/** `*` or `$`, up to ten digits, CR LF. */
const MAX_HEADER_BYTES = 13;
const EMPTY = Buffer.alloc(0);

export class RespParser {
  readonly #limits: RespLimits;
  #buffer: Buffer = EMPTY;
  #position = 0;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** How many bytes must be there, counted from #position, before parsing is tried again. */
  #need = 1;

  constructor(limits: RespLimits) {
    this.#limits = limits;
  }

  /** Bytes that were pushed and not yet returned by `next`. */
  get bufferedBytes(): number {
    return this.#buffer.length - this.#position + this.#waitingBytes;
  }

  /** Adds received bytes. The parser keeps views into them: the caller must not change them afterwards. */
  push(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  /**
   * Takes the next complete array.
   * @returns the array, or null when more bytes are needed
   * @throws ProtocolError when the bytes cannot become an array, or one beyond the limits
   */
  next(): RespArray | null {
    if (this.bufferedBytes < this.#need) return null;
    this.#join();
    const start = this.#position;
    const array = this.#parse(start);
    if (array === null) return null;
    this.#position = start + array.raw.length;
    this.#need = 1;
    return array;
  }

  #join(): void {
    if (this.#waitingBytes === 0) return;
    const rest = this.#buffer.subarray(this.#position);
    this.#buffer =
      rest.length === 0 && this.#waiting.length === 1
        ? (this.#waiting[0] as Buffer)
        : Buffer.concat([rest, ...this.#waiting]);
    this.#position = 0;
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  #parse(start: number): RespArray | null {
    const buffer = this.#buffer;
    let header = this.#header(start, ASTERISK, start);
    if (header === null) return null;
    const count = header.value;
    if (count < 1 || count > this.#limits.maxElements) {
      throw new ProtocolError(`an array of ${count} elements; allowed are 1 to ${this.#limits.maxElements}`);
    }
    let at = header.end;
    const elements: Buffer[] = [];
    for (let index = 0; index < count; index += 1) {
      header = this.#header(at, DOLLAR, start);
      if (header === null) return null;
      const length = header.value;
      if (length > this.#limits.maxBulkBytes) {
        throw new ProtocolError(`a string of ${length} bytes; the limit is ${this.#limits.maxBulkBytes}`);
      }
      const from = header.end;
      const to = from + length;
      if (to + 2 > buffer.length) {
        this.#need = to + 2 - start;
        return null;
      }
      if (buffer[to] !== CR || buffer[to + 1] !== LF) {
        throw new ProtocolError('a string is not followed by CR LF');
      }
      elements.push(buffer.subarray(from, to));
      at = to + 2;
    }
    return { elements, raw: buffer.subarray(start, at) };
  }

  /** Reads `*<n>CRLF` or `$<n>CRLF` at `at`; null when it is not complete yet. */
  #header(at: number, type: number, start: number): { value: number; end: number } | null {
    const buffer = this.#buffer;
    let index = at;
    if (index < buffer.length && buffer[index] !== type) {
      throw new ProtocolError(
        `expected '${String.fromCharCode(type)}', got byte 0x${(buffer[index] as number).toString(16).padStart(2, '0')}`,
      );
    }
    index += 1;
    let value = 0;
    const digitsFrom = index;
    while (index < buffer.length) {
      const byte = buffer[index] as number;
      if (byte === CR) break;
      const digit = byte - 0x30;
      if (digit < 0 || digit > 9 || index - at > MAX_HEADER_BYTES - 3) {
        throw new ProtocolError('a length is not a decimal number');
      }
      value = value * 10 + digit;
      index += 1;
    }
    if (index + 1 >= buffer.length) {
      this.#need = buffer.length - start + 1;
      return null;
    }
    if (index === digitsFrom) throw new ProtocolError('a length is missing');
    if (buffer[index + 1] !== LF) throw new ProtocolError('a length is not followed by CR LF');
    return { value, end: index + 2 };
  }
}
