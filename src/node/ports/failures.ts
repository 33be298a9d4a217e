/**
 * Failures that the ports of files tell. What others see of an error is `told`, a text of its own that names the kind and the place, and
 * neither keys nor values nor files: nobody cuts it out of a message that has them.
 */
/** A write to disk failed; nothing of it happened. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  /** The disk (or a quota) has no room; other failures are I/O errors. */
  readonly full: boolean;
  /** The message for the operator, in the log: it may name files. */
  readonly inLog: string;
  /** What was read is not what was written: no later attempt mends that. */
  readonly damaged: boolean;

  /** @param message goes to clients and other nodes: it names no path, and no key */
  constructor(message: string, full: boolean, cause?: unknown, inLog = message, damaged = false) {
    super(message, { cause });
    this.full = full;
    this.inLog = inLog;
    this.damaged = damaged;
  }

  get told(): string {
    return this.message;
  }
}

/** What clients are told while a file of the node is removed, renamed or replaced. */
export const LOST_FILE = 'a file of the node is not in its place; the log names it';

/** What the files say does not fit together: they are not what was written. The message has positions only. */
export class FilesDamaged extends Error {
  override readonly name = 'FilesDamaged';
  readonly told = this.message;
}

/** What was asked for is not in the journal. The message has positions only. */
export class NotInJournal extends RangeError {
  override readonly name = 'NotInJournal';
  readonly told = this.message;
}

/** Bytes are not the commands of a stream. The message says where, and quotes none of them. */
export class NoStream extends Error {
  override readonly name = 'NoStream';
  readonly told = this.message;
}

/** A snapshot has arrived that must not replace anything: it is not what a psyncd writes, or not any more. */
export class DamagedSnapshot extends Error {
  override readonly name = 'DamagedSnapshot';
  /** It is what the sender has read from its disk, byte for byte: the damage did not come on the way. */
  readonly asSent: boolean;
  readonly told = this.message;

  /** @param message goes to clients and other nodes: it names no path, and no key */
  constructor(message: string, asSent: boolean) {
    super(message);
    this.asSent = asSent;
  }
}

/** @returns the message of an error, whatever was thrown */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * @returns what the log says of an error, whatever was thrown: with files, and with the cause that clients are not told. A mistake of psyncd
 *   has its name, so that nobody takes it for a failure of the disk or the network
 */
export function inLogOf(error: unknown): string {
  if (error instanceof StorageError) return error.inLog;
  if (error instanceof Error && error.cause instanceof StorageError) return error.cause.inLog;
  const isMistake = [RangeError, ReferenceError, TypeError].some((kind) => error instanceof kind);
  return isMistake ? String(error) : messageOf(error);
}

/**
 * Gives an error what others may see of it.
 * @param told names neither keys nor values nor files; without it, the message of the error does not either
 * @returns the same error
 */
export function telling<E extends Error>(error: E, told: string = error.message): E & { told: string } {
  return Object.assign(error, { told });
}

/** What others see of an error that has no text for them. */
export const UNTOLD = 'the log of the node says more';
/** Codes of the system, of SQLite, of Node.js and of psyncd. */
const CODE = /^(?:E[A-Z0-9]+|(?:SQLITE|ERR|PSYNCD)_[A-Z_]+)$/;
/** What the system says of a code, such as `no space left on device`. */
const OF_SYSTEM = /^[a-z][a-z /()-]*$/;
/** What SQLite says of a code. Its other messages quote what is in the file. */
const OF_SQLITE: ReadonlySet<string> = new Set([
  'disk I/O error',
  'database disk image is malformed',
  'unable to open database file',
  'database or disk is full',
  'database is locked',
  'attempt to write a readonly database',
  'file is not a database',
  'out of memory',
  'interrupted',
]);

/**
 * @returns what clients and other nodes may see of an error, whatever was thrown: its `told`, else what the system or SQLite says of its
 *   code, without files
 */
export function toldOf(error: unknown): string {
  if (!(error instanceof Error)) return UNTOLD;
  const { told, code, syscall } = error as { told?: unknown; code?: unknown; syscall?: unknown };
  if (typeof told === 'string') return told;
  const known = typeof code === 'string' && CODE.test(code) ? code : null;
  if (OF_SQLITE.has(error.message)) return `${known ?? 'UNKNOWN'}: ${error.message}`;
  if (known === null) return UNTOLD;
  // Node.js writes `CODE: text, call 'path'`.
  const said = error.message.slice(known.length + 2).split(`, ${String(syscall)}`, 1)[0] ?? '';
  const isOfSystem = typeof syscall === 'string' && error.message.startsWith(`${known}: `);
  return `${known}: ${isOfSystem && OF_SYSTEM.test(said) ? `${said}, ${syscall}` : UNTOLD}`;
}
