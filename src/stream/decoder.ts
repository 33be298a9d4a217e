/**
 * Bytes of the stream to commands, however the bytes are cut.
 *
 * Owns: what came after the last boundary. A *boundary* is a place where a position may stop: the end of a
 * command that is not inside MULTI…EXEC. Nothing is handed out before its boundary has arrived, so that a reader
 * whose connection breaks has either all of a transaction or nothing of it (psync-rules.md, 34).
 */
import { isUtf8 } from 'node:buffer';
import type { Command, Run } from './command.ts';
import { ProtocolError } from './protocol-error.ts';
import { type RespLimits, RespParser } from './resp-parser.ts';

/** A batch deletes at most this many keys with one DEL, and SET … PXAT has five elements. */
export const STREAM_LIMITS: RespLimits = { maxElements: 1_048_576, maxBulkBytes: 512 * 1024 * 1024 };
/** The longest key that is read, in bytes; masters take far shorter ones. */
const MAX_KEY_BYTES = 64 * 1024;
/** The longest name of a command, and of an option. */
const MAX_NAME_BYTES = 32;
/** The largest transaction, in bytes: more than any master makes. */
export const MAX_TRANSACTION_BYTES = 256 * 1024 * 1024;

export class StreamDecoder {
  readonly #parser: RespParser;
  /** The bytes since the last boundary that are parsed already: an open MULTI. */
  #open: Buffer[] = [];
  #openBytes = 0;
  #openCommands: Command[] = [];
  #openEnds: number[] = [];
  #inMulti = false;

  constructor(limits: RespLimits = STREAM_LIMITS) {
    this.#parser = new RespParser(limits);
  }

  /** Bytes held back because their boundary has not arrived. */
  get heldBytes(): number {
    return this.#openBytes + this.#parser.bufferedBytes;
  }

  /**
   * Takes the next bytes of the stream; the caller must not change them afterwards.
   * @returns all that is complete now, or null when no boundary was reached
   * @throws ProtocolError for bytes that are no command of the stream; the decoder is of no use afterwards
   */
  push(bytes: Buffer): Run | null {
    this.#parser.push(bytes);
    const done: Buffer[] = [];
    let doneBytes = 0;
    const commands: Command[] = [];
    const ends: number[] = [];
    const boundaries: number[] = [];
    for (let array = this.#parser.next(); array !== null; array = this.#parser.next()) {
      this.#open.push(array.raw);
      this.#openBytes += array.raw.length;
      this.#take(array.elements);
      if (this.#inMulti) {
        if (this.#openBytes <= MAX_TRANSACTION_BYTES) continue;
        throw new ProtocolError(`a transaction of more than ${MAX_TRANSACTION_BYTES} bytes`);
      }
      for (const [index, command] of this.#openCommands.entries()) {
        commands.push(command);
        ends.push(doneBytes + (this.#openEnds[index] as number));
      }
      for (const piece of this.#open) done.push(piece);
      doneBytes += this.#openBytes;
      boundaries.push(doneBytes);
      this.#open = [];
      this.#openBytes = 0;
      this.#openCommands = [];
      this.#openEnds = [];
    }
    if (doneBytes === 0) return null;
    return { bytes: joined(done, doneBytes), commands, ends, boundaries };
  }

  #take(elements: readonly Buffer[]): void {
    const name = nameOf(elements[0]);
    if (name === 'MULTI' || name === 'EXEC') {
      arity(name, elements, 1);
      if (this.#inMulti === (name === 'MULTI')) throw new ProtocolError(`unexpected ${name}`);
      this.#inMulti = name === 'MULTI';
      return;
    }
    const command = parseCommand(name, elements);
    if (command === null) return;
    this.#openCommands.push(command);
    this.#openEnds.push(this.#openBytes);
  }
}

/** @returns the command, or null for PING, which is counted and does nothing */
function parseCommand(name: string, elements: readonly Buffer[]): Command | null {
  switch (name) {
    case 'SET': {
      if (elements.length === 3) {
        return { kind: 'set', key: key(elements[1]), value: elements[2] as Buffer, expiresAt: null };
      }
      arity(name, elements, 5);
      if (nameOf(elements[3]) !== 'PXAT') {
        throw new ProtocolError('SET with an option other than PXAT');
      }
      return {
        kind: 'set',
        key: key(elements[1]),
        value: elements[2] as Buffer,
        expiresAt: milliseconds(elements[4]),
      };
    }
    case 'DEL':
      if (elements.length < 2) throw new ProtocolError('DEL without a key');
      return { kind: 'del', keys: elements.slice(1).map(key) };
    case 'PEXPIREAT':
      arity(name, elements, 3);
      return { kind: 'expire-at', key: key(elements[1]), expiresAt: milliseconds(elements[2]) };
    case 'PERSIST':
      arity(name, elements, 2);
      return { kind: 'persist', key: key(elements[1]) };
    case 'FLUSHALL':
      arity(name, elements, 1);
      return { kind: 'flush-all' };
    case 'PING':
      arity(name, elements, 1);
      return null;
    default:
      throw new ProtocolError(`unknown command ${JSON.stringify(name.slice(0, 32))} in the stream`);
  }
}

function arity(name: string, elements: readonly Buffer[], count: number): void {
  if (elements.length !== count) {
    throw new ProtocolError(`${name} with ${elements.length - 1} arguments, expected ${count - 1}`);
  }
}

/** Names are compared without regard to case; a long one is cut, and then is none of ours. */
function nameOf(bytes: Buffer | undefined): string {
  return (bytes as Buffer).toString('latin1', 0, MAX_NAME_BYTES).toUpperCase();
}

function key(bytes: Buffer | undefined): string {
  if ((bytes as Buffer).length > MAX_KEY_BYTES) throw new ProtocolError(`a key of ${bytes?.length} bytes`);
  const text = (bytes as Buffer).toString('utf8');
  // Decoding replaces what is no UTF-8 by U+FFFD; a key that holds one of its own is rare enough to look twice.
  if (text.includes('\uFFFD') && !isUtf8(bytes as Buffer)) throw new ProtocolError('a key is not UTF-8');
  return text;
}

function milliseconds(bytes: Buffer | undefined): number {
  const text = (bytes as Buffer).toString('latin1', 0, MAX_NAME_BYTES);
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
    throw new ProtocolError(`${JSON.stringify(text.slice(0, 32))} is not a time in milliseconds`);
  }
  return value;
}

/**
 * The pieces as one buffer. They were cut from one buffer far more often than not; then no byte is copied.
 */
function joined(pieces: readonly Buffer[], total: number): Buffer {
  const first = pieces[0] as Buffer;
  const last = pieces[pieces.length - 1] as Buffer;
  const adjacent = pieces.every((piece, index) => {
    if (index === 0) return true;
    const before = pieces[index - 1] as Buffer;
    return piece.buffer === first.buffer && piece.byteOffset === before.byteOffset + before.length;
  });
  if (adjacent && last.byteOffset + last.length - first.byteOffset === total) {
    return Buffer.from(first.buffer as ArrayBuffer, first.byteOffset, total);
  }
  return Buffer.concat(pieces, total);
}
