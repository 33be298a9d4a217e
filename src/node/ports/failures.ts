/** Failures that the ports of files tell. */
/** A write to disk failed; nothing of it happened. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  /** The disk (or a quota) has no room; other failures are I/O errors. */
  readonly full: boolean;

  constructor(message: string, full: boolean, cause?: unknown) {
    super(message, { cause });
    this.full = full;
  }
}

/** What the files say does not fit together: they are not what was written. */
export class FilesDamaged extends Error {
  override readonly name = 'FilesDamaged';
}

/** What was asked for is not in the journal. */
export class NotInJournal extends RangeError {
  override readonly name = 'NotInJournal';
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
