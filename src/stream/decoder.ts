/**
 * Decodes the bytes of the stream into commands, however the bytes are divided.
 *
 * Owns the bytes after the last boundary. A *boundary* is a place where a position may stop: the end of a command
 * outside MULTI…EXEC. The decoder returns no command before its boundary has arrived. So a reader whose connection
 * breaks has either a whole transaction or nothing of it (docs/design/redis-rules.md, R8).
 */
import { isUtf8 } from 'node:buffer';
import { type Command, MAX_KEY_BYTES, MAX_VALUE_BYTES, type Run } from './command.ts';
import { ProtocolError } from './protocol-error.ts';
import { type RespArray, type RespLimits, RespParser } from './resp-parser.ts';

/**
 * Largest number of commands in one transaction, where each key of a DEL counts as one more, and of elements in one
 * array. Small commands take far more memory decoded than on the wire, about 300 bytes each, and time when they are
 * applied together. Masters make at most a sixth of it: 10,000 operations in a batch, 1,000 keys in a DEL.
 */
export const MAX_TRANSACTION_COMMANDS = 65_536;
/** Largest transaction in bytes on the wire: twice what a master makes. */
export const MAX_TRANSACTION_BYTES = 128 * 1024 * 1024;
/** Longest string, four times the largest value; and the longest array, which holds such a string and a key. */
const MAX_BULK_BYTES = 64 * 1024 * 1024;
const MAX_ARRAY_BYTES = MAX_BULK_BYTES + 1024 * 1024;

export const STREAM_LIMITS: RespLimits = {
  maxElements: MAX_TRANSACTION_COMMANDS,
  maxBulkBytes: MAX_BULK_BYTES,
  maxArrayBytes: MAX_ARRAY_BYTES,
};
/** Longest name of a command or an option. */
const MAX_NAME_BYTES = 32;
const EMPTY = Buffer.alloc(0);

export class StreamDecoder {
  readonly #parser: RespParser;
  /** Parsed bytes since the last boundary: an open MULTI. */
  #open = new Pieces();
  #openCommands: Command[] = [];
  #openEnds: number[] = [];
  /** Number of commands in the open transaction, plus the keys of its DELs. */
  #openCount = 0;
  #inMulti = false;

  constructor(limits: RespLimits = STREAM_LIMITS) {
    this.#parser = new RespParser(limits);
  }

  /** Number of bytes held back because their boundary has not arrived. */
  get heldBytes(): number {
    return this.#open.bytes + this.#parser.bufferedBytes;
  }

  /**
   * Takes the next bytes of the stream; the caller must not change them afterwards.
   * @returns all complete commands, or null when no boundary was reached
   * @throws ProtocolError for bytes that are not a command of the stream; the decoder is then unusable
   */
  push(bytes: Buffer): Run | null {
    this.#parser.push(bytes);
    const done = new Pieces();
    const commands: Command[] = [];
    const ends: number[] = [];
    const boundaries: number[] = [];
    for (let array = this.#parser.next(); array !== null; array = this.#parser.next()) {
      this.#open.add(array.buffer, array.start, array.start + array.size);
      const command = this.#take(array);
      if (this.#inMulti) {
        if (command !== null) {
          this.#openCommands.push(command);
          this.#openEnds.push(this.#open.bytes);
          this.#openCount += command.kind === 'del' ? 1 + command.keys.length : 1;
        }
        this.#checkTransaction();
        continue;
      }
      if (this.#openCommands.length > 0) {
        for (const each of this.#openCommands) commands.push(each);
        for (const end of this.#openEnds) ends.push(done.bytes + end);
        this.#openCommands = [];
        this.#openEnds = [];
        this.#openCount = 0;
      }
      if (command !== null) {
        commands.push(command);
        ends.push(done.bytes + this.#open.bytes);
      }
      done.take(this.#open);
      boundaries.push(done.bytes);
    }
    if (done.bytes === 0) return null;
    return { bytes: done.joined(), commands, ends, boundaries };
  }

  /** @throws ProtocolError when the open transaction exceeds its limits */
  #checkTransaction(): void {
    if (this.#open.bytes > MAX_TRANSACTION_BYTES) {
      throw new ProtocolError(`a transaction of more than ${MAX_TRANSACTION_BYTES} bytes`);
    }
    if (this.#openCount > MAX_TRANSACTION_COMMANDS) {
      throw new ProtocolError(`a transaction of more than ${MAX_TRANSACTION_COMMANDS} commands and keys`);
    }
  }

  /** @returns the command; null for PING, MULTI and EXEC, which are only part of the bytes */
  #take(array: RespArray): Command | null {
    // Nearly all commands are SETs, so they are recognized without making a string.
    const name = array.is(0, 'SET') ? 'SET' : nameAt(array, 0);
    if (name !== 'MULTI' && name !== 'EXEC') return parseCommand(name, array);
    arity(name, array, 1);
    if (this.#inMulti === (name === 'MULTI')) throw new ProtocolError(`unexpected ${name}`);
    this.#inMulti = name === 'MULTI';
    return null;
  }
}

/** @returns the command; null for PING, which counts as bytes and does nothing */
function parseCommand(name: string, array: RespArray): Command | null {
  switch (name) {
    case 'SET': {
      if (array.length === 3) {
        return { kind: 'set', key: keyAt(array, 1), value: valueAt(array), expiresAt: null };
      }
      arity(name, array, 5);
      if (nameAt(array, 3) !== 'PXAT') {
        throw new ProtocolError('SET with an option other than PXAT');
      }
      return { kind: 'set', key: keyAt(array, 1), value: valueAt(array), expiresAt: timeAt(array, 4) };
    }
    case 'DEL': {
      if (array.length < 2) throw new ProtocolError('DEL without a key');
      const keys: string[] = [];
      for (let index = 1; index < array.length; index += 1) keys.push(keyAt(array, index));
      return { kind: 'del', keys };
    }
    case 'PEXPIREAT':
      arity(name, array, 3);
      return { kind: 'expire-at', key: keyAt(array, 1), expiresAt: timeAt(array, 2) };
    case 'PERSIST':
      arity(name, array, 2);
      return { kind: 'persist', key: keyAt(array, 1) };
    case 'FLUSHALL':
      arity(name, array, 1);
      return { kind: 'flush-all' };
    case 'PING':
      arity(name, array, 1);
      return null;
    default:
      throw new ProtocolError('a command that the stream does not have');
  }
}

function arity(name: string, array: RespArray, count: number): void {
  if (array.length !== count) {
    throw new ProtocolError(`${name} with ${array.length - 1} arguments, expected ${count - 1}`);
  }
}

/** Returns the name in uppercase, because case does not matter. A long name is cut, and then matches no command. */
function nameAt(array: RespArray, index: number): string {
  return array.text(index, 'latin1', MAX_NAME_BYTES).toUpperCase();
}

function keyAt(array: RespArray, index: number): string {
  const size = array.sizeOf(index);
  if (size === 0 || size > MAX_KEY_BYTES) throw new ProtocolError(`a key of ${size} bytes`);
  const text = array.text(index, 'utf8');
  // Decoding replaces invalid UTF-8 by U+FFFD. Keys that really contain U+FFFD are rare, so a second check is cheap.
  if (text.includes('\uFFFD') && !isUtf8(array.bytes(index))) throw new ProtocolError('a key is not UTF-8');
  return text;
}

/** The value of a SET. */
function valueAt(array: RespArray): Buffer {
  const size = array.sizeOf(2);
  if (size > MAX_VALUE_BYTES) throw new ProtocolError(`a value of ${size} bytes`);
  return array.bytes(2);
}

function timeAt(array: RespArray, index: number): number {
  const text = array.text(index, 'latin1', MAX_NAME_BYTES);
  const value = Number(text);
  if (!/^(?:0|[1-9]\d{0,15})$/.test(text) || !Number.isSafeInteger(value)) {
    throw new ProtocolError('a time that is no number of milliseconds');
  }
  return value;
}

/** Collects bytes in order. Pieces usually lie directly behind each other. */
class Pieces {
  /** Total number of bytes. */
  bytes = 0;
  #before: Buffer[] = [];
  /** The last piece. It grows while added bytes follow it directly, so there is no view per command. */
  #buffer: Buffer = EMPTY;
  #from = 0;
  #to = 0;

  add(buffer: Buffer, from: number, to: number): void {
    if (buffer !== this.#buffer || from !== this.#to) {
      if (this.#to > this.#from) this.#before.push(this.#last());
      this.#buffer = buffer;
      this.#from = from;
    }
    this.#to = to;
    this.bytes += to - from;
  }

  /** Moves all bytes of `other` here and empties it. */
  take(other: Pieces): void {
    for (const piece of other.#before) this.add(piece, 0, piece.length);
    this.add(other.#buffer, other.#from, other.#to);
    if (other.#before.length > 0) other.#before = [];
    other.#from = other.#to;
    other.bytes = 0;
  }

  /** Returns all bytes in one buffer; a single piece is not copied. */
  joined(): Buffer {
    return this.#before.length === 0
      ? this.#last()
      : Buffer.concat([...this.#before, this.#last()], this.bytes);
  }

  #last(): Buffer {
    return this.#buffer.subarray(this.#from, this.#to);
  }
}
