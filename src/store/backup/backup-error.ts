/** Failures of backups, of their checks and of restores. */
import { messageOf, StorageError } from '../../node/ports/failures.ts';
import { codeOf, isOfDisk, storageFailure } from '../storage-failure.ts';

/** Why a file or a folder does not pass a check. The message is one line that names it. */
export type Finding =
  /** It is not what was written. */
  | 'damaged'
  /** It cannot be checked: it is no backup, of a newer psyncd, in use, or cannot be read. */
  | 'unknown';

/** A backup or a data folder that does not pass a check. */
export class CheckError extends Error {
  override readonly name = 'CheckError';
  readonly finding: Finding;

  constructor(finding: Finding, message: string) {
    super(message);
    this.finding = finding;
  }
}

/** A backup or a restore that cannot be done. Nothing was changed. The message is one line. */
export class BackupError extends Error {
  override readonly name = 'BackupError';
}

/**
 * Turns an error of the disk into one line for people; returns any other error unchanged.
 * @param what could not be done: `cannot write x.db`
 * @param path of the file, to look whether there is room beside it if the error leaves that open
 */
export function withoutDisk(what: string, error: unknown, path?: string): unknown {
  const isOfStore = error instanceof StorageError;
  const code = codeOf(error);
  if (!isOfStore && !isOfDisk(code)) return error;
  const { full, message } = isOfStore ? error : storageFailure(error, path);
  const told = messageOf(error);
  const why = isOfStore || told.includes(code) ? told : `${code}: ${told}`;
  return new BackupError(`${what}: ${full ? message : why}`, { cause: error });
}
