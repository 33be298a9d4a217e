/**
 * Commands to bytes. A turn's commands are added one after the other, and where each ends is known at once, before
 * anything is written: an entry's version is such an end, and a later request of the same turn may ask for it.
 *
 * `mark` and `rollback` take commands back that belong to a batch which fails in the middle.
 */
import { assertNever, type Command, isTime, MAX_KEY_BYTES, MAX_VALUE_BYTES, type Run } from './command.ts';
import { STREAM_LIMITS } from './decoder.ts';

const CRLF = '\r\n';
const MULTI = array(['MULTI']);
const EXEC = array(['EXEC']);

interface Part {
  readonly text: string;
  /** What is written between the text and the tail. */
  readonly value: Buffer | null;
  readonly tail: string;
  /** Null: MULTI or EXEC. */
  readonly command: Command | null;
  readonly end: number;
  /** A position may stop behind it. */
  readonly isBoundary: boolean;
}

export class Encoder {
  #parts: Part[] = [];
  #end = 0;
  #inTransaction = false;

  /** How many bytes the commands take so far. */
  get length(): number {
    return this.#end;
  }

  /**
   * @returns where the command ends, counted from the first byte of the first command
   * @throws RangeError for a command that no reader of the stream takes; nothing is added
   */
  add(command: Command): number {
    checkCommand(command);
    const [value, tail] =
      command.kind === 'set' ? [command.value, tailOf(command.expiresAt)] : ([null, ''] as const);
    return this.#push(headOf(command), value, tail, command);
  }

  /** What follows is applied as a whole or not at all, until `endTransaction`. */
  beginTransaction(): void {
    this.#inTransaction = true;
    this.#push(MULTI, null, '', null);
  }

  endTransaction(): void {
    this.#inTransaction = false;
    this.#push(EXEC, null, '', null);
  }

  /** @returns what `rollback` takes to undo everything that is added from now on */
  mark(): number {
    return this.#parts.length;
  }

  rollback(mark: number): void {
    this.#parts.length = mark;
    const last = this.#parts[mark - 1];
    this.#end = last?.end ?? 0;
    this.#inTransaction = last?.isBoundary === false;
  }

  /**
   * Writes everything into one buffer of exactly its length.
   *
   * The values of the returned commands are views into that buffer, so that what a request brought can be let go: a
   * small body is often a view that keeps a 64 KiB socket buffer alive.
   */
  finish(): Run {
    // Not from Node's shared pool: the bytes live on in the overlay.
    const bytes = Buffer.allocUnsafeSlow(this.#end);
    const commands: Command[] = [];
    const ends: number[] = [];
    const boundaries: number[] = [];
    let at = 0;
    for (const { text, value, tail, command, end, isBoundary } of this.#parts) {
      at += bytes.write(text, at, 'utf8');
      if (value !== null) {
        bytes.set(value, at);
        at += bytes.write(tail, at + value.length, 'latin1') + value.length;
      }
      if (isBoundary) boundaries.push(end);
      if (command === null) continue;
      commands.push(command.kind === 'set' ? within(bytes, end, command, tail) : command);
      ends.push(end);
    }
    return { bytes, commands, ends, boundaries };
  }

  #push(text: string, value: Buffer | null, tail: string, command: Command | null): number {
    this.#end += Buffer.byteLength(text) + (value?.length ?? 0) + tail.length;
    this.#parts.push({ text, value, tail, command, end: this.#end, isBoundary: !this.#inTransaction });
    return this.#end;
  }
}

/**
 * The last guard: what is written once and cannot be read ends every replica's link and the next start of the node.
 * @throws RangeError for what `StreamDecoder` refuses, or reads as another command
 */
export function checkCommand(command: Command): void {
  switch (command.kind) {
    case 'set':
      checkKey(command.key);
      if (command.value.length > MAX_VALUE_BYTES) {
        throw new RangeError(`a value of ${command.value.length} bytes`);
      }
      if (command.expiresAt !== null) checkTime(command.expiresAt);
      return;
    case 'del':
      // The name is an element too.
      if (command.keys.length === 0 || command.keys.length >= STREAM_LIMITS.maxElements) {
        throw new RangeError(`a DEL of ${command.keys.length} keys`);
      }
      for (const key of command.keys) checkKey(key);
      return;
    case 'expire-at':
      checkKey(command.key);
      checkTime(command.expiresAt);
      return;
    case 'persist':
      checkKey(command.key);
      return;
    case 'flush-all':
      return;
    default:
      assertNever(command);
  }
}

function checkKey(key: string): void {
  // A character takes three bytes at most, so nearly no key is measured.
  const isShort = key.length * 3 <= MAX_KEY_BYTES;
  if (key === '' || !(isShort || Buffer.byteLength(key) <= MAX_KEY_BYTES)) {
    throw new RangeError(`a key of ${Buffer.byteLength(key)} bytes`);
  }
  if (!key.isWellFormed()) throw new RangeError('a key is not well-formed Unicode');
}

function checkTime(at: number): void {
  if (!isTime(at)) throw new RangeError(`${at} is not a time in milliseconds`);
}

/** The command with its value as a view into the encoded bytes. */
function within(bytes: Buffer, end: number, command: Command & { kind: 'set' }, tail: string): Command {
  const to = end - tail.length;
  const value = bytes.subarray(to - command.value.length, to);
  return { kind: 'set', key: command.key, value, expiresAt: command.expiresAt };
}

/** Everything of a command up to its value; of a command without a value, everything. */
function headOf(command: Command): string {
  switch (command.kind) {
    case 'set': {
      const count = command.expiresAt === null ? 3 : 5;
      return `*${count}${CRLF}$3${CRLF}SET${CRLF}${bulk(command.key)}$${command.value.length}${CRLF}`;
    }
    case 'del':
      return array(['DEL', ...command.keys]);
    case 'expire-at':
      return array(['PEXPIREAT', command.key, String(command.expiresAt)]);
    case 'persist':
      return array(['PERSIST', command.key]);
    case 'flush-all':
      return array(['FLUSHALL']);
    default:
      return assertNever(command);
  }
}

/** What follows a SET's value: ASCII. */
function tailOf(expiresAt: number | null): string {
  return expiresAt === null ? CRLF : `${CRLF}${bulk('PXAT')}${bulk(String(expiresAt))}`;
}

/** A RESP2 array of bulk strings, as text. */
export function array(elements: readonly string[]): string {
  return `*${elements.length}${CRLF}${elements.map(bulk).join('')}`;
}

function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}${CRLF}${text}${CRLF}`;
}
