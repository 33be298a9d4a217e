/**
 * Encodes commands. The commands of a turn are added one by one, and the end of each is known at once, before any byte
 * is written: that end is the entry's version, which a later request of the same turn may need.
 *
 * `mark` and `rollback` remove the commands of a batch that fails in the middle.
 */
import { assertNever, type Command, isTime, MAX_KEY_BYTES, MAX_VALUE_BYTES, type Run } from './command.ts';
import { STREAM_LIMITS } from './decoder.ts';

const CRLF = '\r\n';
const MULTI = array(['MULTI']);
const EXEC = array(['EXEC']);

interface Part {
  readonly text: string;
  /** Bytes between the head and the tail. */
  readonly value: Buffer | null;
  readonly tail: string;
  /** The command; null: MULTI or EXEC. */
  readonly command: Command | null;
  readonly end: number;
  /** Whether a position may stop after it. */
  readonly isBoundary: boolean;
}

export class Encoder {
  #parts: Part[] = [];
  #end = 0;
  #inTransaction = false;

  /** Number of bytes so far. */
  get length(): number {
    return this.#end;
  }

  /**
   * Adds a command.
   * @returns its end, counted from the first byte of the first command
   * @throws RangeError for a command that readers of the stream refuse; nothing is added
   */
  add(command: Command): number {
    checkCommand(command);
    const [value, tail] =
      command.kind === 'set' ? [command.value, tailOf(command.expiresAt)] : ([null, ''] as const);
    return this.#push(headOf(command), value, tail, command);
  }

  /** Starts a transaction: all commands until `endTransaction` are applied as a whole or not at all. */
  beginTransaction(): void {
    this.#inTransaction = true;
    this.#push(MULTI, null, '', null);
  }

  endTransaction(): void {
    this.#inTransaction = false;
    this.#push(EXEC, null, '', null);
  }

  /** @returns a mark; `rollback` removes everything that is added after it */
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
   * Writes everything into one buffer of exactly the right length.
   *
   * The values of the returned commands are views into that buffer, so that the requests' own buffers can be freed: a
   * small body is often a view that keeps a 64 KiB socket buffer alive.
   */
  finish(): Run {
    // Allocated outside of Node's shared pool, because the overlay keeps the bytes.
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
 * Checks a command before it is written: an unreadable command in the journal would end the link of every replica, and
 * the next start of the node.
 * @throws RangeError for a command that `StreamDecoder` refuses or reads differently
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
      // The command's name counts as an element.
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
  // A UTF-16 unit takes at most three bytes, so short keys need no measuring.
  const isShort = key.length * 3 <= MAX_KEY_BYTES;
  if (key === '' || !(isShort || Buffer.byteLength(key) <= MAX_KEY_BYTES)) {
    throw new RangeError(`a key of ${Buffer.byteLength(key)} bytes`);
  }
  if (!key.isWellFormed()) throw new RangeError('a key is not well-formed Unicode');
}

function checkTime(at: number): void {
  if (!isTime(at)) throw new RangeError(`${at} is not a time in milliseconds`);
}

/** Returns the command with its value as a view into the encoded bytes. */
function within(bytes: Buffer, end: number, command: Command & { kind: 'set' }, tail: string): Command {
  const to = end - tail.length;
  const value = bytes.subarray(to - command.value.length, to);
  return { kind: 'set', key: command.key, value, expiresAt: command.expiresAt };
}

/** Encodes a command up to its value, or completely if it has none. */
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

/** Encodes the part after a SET's value, in ASCII. */
function tailOf(expiresAt: number | null): string {
  return expiresAt === null ? CRLF : `${CRLF}${bulk('PXAT')}${bulk(String(expiresAt))}`;
}

/** Encodes a RESP2 array of bulk strings as text. */
export function array(elements: readonly string[]): string {
  return `*${elements.length}${CRLF}${elements.map(bulk).join('')}`;
}

function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}${CRLF}${text}${CRLF}`;
}
