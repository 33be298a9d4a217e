/** Failures that the ports of files tell. */
/** A write to disk failed; nothing of it happened. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  /** The disk (or a quota) has no room; other failures are I/O errors. */
  readonly full: boolean;
  /** The message for the operator, in the log: it may name files. */
  readonly inLog: string;

  /** @param message goes to clients and other nodes: it names no path */
  constructor(message: string, full: boolean, cause?: unknown, inLog = message) {
    super(message, { cause });
    this.full = full;
    this.inLog = inLog;
  }
}

/** What clients are told while a file of the node is removed, renamed or replaced. */
export const LOST_FILE = 'a file of the node is not in its place; the log names it';

/** What the files say does not fit together: they are not what was written. */
export class FilesDamaged extends Error {
  override readonly name = 'FilesDamaged';
}

/** What was asked for is not in the journal. */
export class NotInJournal extends RangeError {
  override readonly name = 'NotInJournal';
}

/** Bytes are not the commands of a stream. The message says where. */
export class NoStream extends Error {
  override readonly name = 'NoStream';
}

/** A snapshot has arrived that must not replace anything: it is not what a psyncd writes, or not any more. */
export class DamagedSnapshot extends Error {
  override readonly name = 'DamagedSnapshot';
  /** It is what the sender has read from its disk, byte for byte: the damage did not come on the way. */
  readonly asSent: boolean;

  constructor(message: string, asSent: boolean) {
    super(message);
    this.asSent = asSent;
  }
}

/** @returns the message of an error, whatever was thrown */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A text in quotes, as JSON writes it. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g;

/**
 * @returns the message of an error of the system, of SQLite or of the node for clients and other nodes: without the files that the system
 *   names at its end, such as `, open '/data/x'`, and without what it quotes, which may be a key
 */
export function toldOf(error: unknown): string {
  return messageOf(error)
    .replace(/(?: '.*'| \/.*)$/s, '')
    .replace(QUOTED, '"…"');
}
