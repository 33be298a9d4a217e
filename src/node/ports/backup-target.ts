/** Port: a place for backups and archives, outside of the data folder. `src/target` implements it: a folder, or object storage. */

/**
 * Why a target could not do what it was asked.
 * - `BAD_TARGET`: the target, a name or the credentials are not what they must be; nothing was asked
 * - `NO_ACCESS`: the target refuses the credentials, or the user may not write there
 * - `NO_SUCH_BUCKET`: there is no such bucket or folder
 * - `NOT_FOUND`: the target has nothing of that name
 * - `CLOCK_SKEW`: the clocks of this machine and of the target differ by too much
 * - `TARGET_BUSY`: the target asks for slower requests, or has an error of its own; a later attempt may succeed
 * - `TARGET_FULL`: the target has no room
 * - `TARGET_UNREACHABLE`: nobody answers, or not in time
 * - `TARGET_ANSWER`: what answers is no such target, or not what it says
 * - `TARGET_FAILED`: any other failure of the target or its disk
 */
export type TargetCode =
  | 'BAD_TARGET'
  | 'NO_ACCESS'
  | 'NO_SUCH_BUCKET'
  | 'NOT_FOUND'
  | 'CLOCK_SKEW'
  | 'TARGET_BUSY'
  | 'TARGET_FULL'
  | 'TARGET_UNREACHABLE'
  | 'TARGET_ANSWER'
  | 'TARGET_FAILED';

/** A target could not do what it was asked. The message is one line for people, without secrets. */
export class TargetError extends Error {
  override readonly name = 'TargetError';
  readonly code: TargetCode;

  constructor(code: TargetCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** One object of a target. */
export interface TargetObject {
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** When the target got it, by the clock of the target, in milliseconds since 1970. */
  readonly modified: number;
}

/** What an object gets its bytes from: a file that nobody changes meanwhile, or memory. */
export type TargetSource = { readonly path: string } | { readonly bytes: Uint8Array };

export interface TargetCall {
  /** Ends the call, which then throws the signal's reason. What has come of it is removed. */
  readonly signal?: AbortSignal;
}

export interface GetCall extends TargetCall {
  /** Most bytes that the object may have, as a list or its begin has said. TARGET_ANSWER refuses a longer one before it is written. */
  readonly most?: number;
}

/**
 * Looks whether there is room before an object is written.
 * @param path of the file that it will get
 * @param bytes its length, as the target says
 * @throws what the call of `get` then throws
 */
export type RoomCheck = (path: string, bytes: number) => Promise<void>;

/** Age at which what a call of `put` has left in a target is of a process that was killed, in milliseconds. */
export const LEFTOVER_MS = 24 * 3_600_000;

/**
 * Objects by name. A name is a relative path of plain segments, such as `shop/8f3b…/128-20261129T060000Z.db` (`isTargetName` in
 * src/target). Objects whose names are none are not listed. All calls throw TargetError, and the signal's reason after an abort.
 */
export interface BackupTarget {
  /** The target for people: without secrets. */
  readonly shown: string;
  /** Puts an object, in place of one that has the name. It appears whole and durable, or not at all. */
  put(name: string, source: TargetSource, call?: TargetCall): Promise<void>;
  /**
   * Gets an object into a new file, which only its owner may read; after a failure there is no file.
   * @param path where no file is
   * @throws also the error of the file system, if the file cannot be written
   */
  get(name: string, path: string, call?: GetCall): Promise<void>;
  /** @returns the first bytes of an object, `length` of them or fewer if it is shorter; `length` is small */
  begin(name: string, length: number, call?: TargetCall): Promise<Uint8Array>;
  /**
   * Lists the objects, in no particular order.
   * @param folder name of a folder, whose objects and those of its folders are listed; '': all objects
   */
  list(folder: string, call?: TargetCall): AsyncIterable<TargetObject>;
  /** @returns what a list says of one object; null: there is none of that name */
  find(name: string, call?: TargetCall): Promise<TargetObject | null>;
  /** Deletes an object. If there is none, nothing happens. */
  delete(name: string, call?: TargetCall): Promise<void>;
  /**
   * Removes what was left of calls of `put` that were killed.
   * @param before milliseconds since 1970: only what was begun earlier, because others may be at work
   * @param isOurs whether psyncd gives objects such a name; others may use the target too
   * @returns the number of puts of which something was left
   */
  clean(before: number, isOurs: (name: string) => boolean, call?: TargetCall): Promise<number>;
}

/** Number of bytes at the begin of a backup that tell whether it is one: a shorter object is none. */
export const BACKUP_BEGIN_BYTES = 100;

/** The length in bytes that a backup says of itself in its first `BACKUP_BEGIN_BYTES`; null: they are not those of a backup. */
export type BackupLength = (begin: Uint8Array) => number | null;

/**
 * - `whole`: a backup of the length that it says; its other bytes were not looked at
 * - `cut`: it begins as a backup, and has another length
 * - `none`: it does not begin as a backup
 * - `gone`: the target has nothing of that name
 */
export type BackupLook = 'whole' | 'cut' | 'none' | 'gone';

/**
 * Tells whether an object is a backup, by its first bytes and by the length that they promise: a cut file has the first bytes of a backup
 * too. All who count on a backup ask here, because what is not whole stands for no other one.
 * @param object as the list of the target says
 * @throws TargetError
 */
export async function lookAtBackup(
  target: Pick<BackupTarget, 'begin'>,
  { name, size }: Pick<TargetObject, 'name' | 'size'>,
  lengthOf: BackupLength,
  call: TargetCall,
): Promise<BackupLook> {
  if (size < BACKUP_BEGIN_BYTES) return 'none';
  try {
    const length = lengthOf(await target.begin(name, BACKUP_BEGIN_BYTES, call));
    if (length === null) return 'none';
    return length === size ? 'whole' : 'cut';
  } catch (error) {
    if (error instanceof TargetError && error.code === 'NOT_FOUND') return 'gone';
    throw error;
  }
}
