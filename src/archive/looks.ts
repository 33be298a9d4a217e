/** Looks whether objects of an archive are what their names say, before a node archives behind them. */
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type BackupLength,
  type BackupTarget,
  lookAtBackup,
  type TargetCall,
  TargetError,
} from '../node/ports/backup-target.ts';
import type { Mark } from './commit-times.ts';
import type { ListedBase, ListedSegment } from './coverage.ts';
import type { SegmentName } from './names.ts';
import { beginIn } from './retention/header-in.ts';
import type { Piece } from './running/piece.ts';
import { FRAME_BYTES, SegmentError, SKIPPABLE, SUM_BYTES } from './segment.ts';

/** A shorter object is no segment. */
export const LEAST_SEGMENT_BYTES = FRAME_BYTES + SUM_BYTES + 2;
/** Number of bytes whose SHA-256 is computed at a time; then others get a turn. */
const SLICE_BYTES = 512 * 1024;
/** Length of a longer object than any segment: one has 8 MiB and a transaction of 128 MiB at most, and a header of 1 MiB. */
const MAX_SEGMENT_BYTES = 160 * 1024 * 1024;

/** What a segment says: the history hash at its end (null: unknown), and the times of its commits. */
export interface SegmentLook {
  readonly hash: bigint | null;
  readonly marks: readonly Mark[];
}

/**
 * Reads the begin of a segment. A target that does not let the node read counts as one that has what it lists.
 * @returns null: it is not there, or not the segment of its name, or not as long as it says
 * @throws TargetError
 */
export async function lookAtSegment(
  target: BackupTarget,
  segment: ListedSegment,
  call: TargetCall,
): Promise<SegmentLook | null> {
  return await readable({ hash: null, marks: [] }, async () => {
    const { header, frameAt } = await beginIn(target, segment, call);
    const { size } = segment;
    const { frameBytes } = header;
    const isLong = size === undefined || frameBytes === null || size === frameAt + frameBytes;
    return isLong ? { hash: header.hashAfter, marks: header.marks } : null;
  });
}

/**
 * Looks whether the target has kept a base and a segment, as long as they say to be.
 * @param base its name; null: none is looked for
 * @param last null: none is looked for
 * @throws TargetError
 */
export async function areHeld(
  target: BackupTarget,
  { base, last }: { readonly base: string | null; readonly last: SegmentName | null },
  lengthOf: BackupLength,
  call: TargetCall,
): Promise<boolean> {
  const found = base === null ? null : await target.find(base, call);
  if (base !== null && (found === null || !(await isBase(target, found, lengthOf, call)))) return false;
  if (last === null) return true;
  const listed = await target.find(last.name, call);
  if (listed === null || listed.size < LEAST_SEGMENT_BYTES) return false;
  return (await lookAtSegment(target, { ...last, size: listed.size }, call)) !== null;
}

/** @returns whether there is an object of the name, or the target does not let the node read @throws TargetError */
export async function hasObject(target: BackupTarget, name: string, call: TargetCall): Promise<boolean> {
  const found = await readable(true, async () => {
    await target.begin(name, 1, call);
    return true;
  });
  return found === true;
}

/**
 * Reads the begin of a base.
 * @returns whether it is a backup of the length that it has in the list of the target
 * @throws TargetError
 */
export async function isBase(
  target: BackupTarget,
  { name, size = 0 }: Pick<ListedBase, 'name' | 'size'>,
  lengthOf: BackupLength,
  call: TargetCall,
): Promise<boolean> {
  const look = await readable('whole', () => lookAtBackup(target, { name, size }, lengthOf, call));
  return look === 'whole';
}

/** What a target has under the name of a piece: nothing that is whole, its bytes, or those of another history. */
type Held = 'nothing' | 'same' | 'other';

/**
 * Compares all bytes of an object with the SHA-256 in it.
 * @returns what the target has under the name of a piece; `nothing` also if the node may not read
 * @throws TargetError
 */
export async function heldAs(target: BackupTarget, piece: Piece, call: TargetCall): Promise<Held> {
  const found = await readable<Held>('nothing', async () => {
    const { header, frameAt } = await beginIn(target, piece.segment, call);
    const { frameBytes, hashAfter } = header;
    if (piece.hash === null || hashAfter === null || frameBytes === null) return 'nothing';
    // Longer than what a node would put: nobody has to read that.
    if (frameBytes > piece.bytes.length + SLICE_BYTES) return 'nothing';
    if (!(await hasBytes(target, piece.name, frameAt + frameBytes, call))) return 'nothing';
    return hashAfter === piece.hash ? 'same' : 'other';
  });
  return found ?? 'nothing';
}

/**
 * Compares all bytes of a segment with the SHA-256 in it, before what it says costs others their positions or lets something be deleted.
 * @returns whether it is what was written
 * @throws TargetError, also if the target does not let the node read
 */
export async function isWholeSegment(
  target: BackupTarget,
  segment: ListedSegment,
  call: TargetCall,
): Promise<boolean> {
  try {
    const { header, frameAt } = await beginIn(target, segment, call);
    const { frameBytes } = header;
    const length = frameBytes === null ? segment.size : frameAt + frameBytes;
    if (length === undefined || length > MAX_SEGMENT_BYTES) return false;
    return await hasBytes(target, segment.name, length, call);
  } catch (error) {
    if (error instanceof SegmentError) return false;
    if (error instanceof TargetError && error.code === 'NOT_FOUND') return false;
    throw error;
  }
}

/** @param length in bytes @returns whether the object has that length, and its bytes are those of its SHA-256 */
async function hasBytes(
  target: BackupTarget,
  name: string,
  length: number,
  call: TargetCall,
): Promise<boolean> {
  const bytes = Buffer.from(await target.begin(name, length + 1, call));
  return bytes.length === length && (await isSummed(bytes));
}

/** Whether the SHA-256 at the begin of a segment is that of what follows. */
async function isSummed(bytes: Buffer): Promise<boolean> {
  if (bytes.length < LEAST_SEGMENT_BYTES || bytes.readUInt32LE(0) !== SKIPPABLE) return false;
  const sum = createHash('sha256');
  for (let at = FRAME_BYTES + SUM_BYTES; at < bytes.length; at += SLICE_BYTES) {
    sum.update(bytes.subarray(at, at + SLICE_BYTES));
    await nextTurn();
  }
  return sum.digest().equals(bytes.subarray(FRAME_BYTES, FRAME_BYTES + SUM_BYTES));
}

/** @returns null: nothing is there, or not what its name says; `unread`: the node may not read */
async function readable<T>(unread: T, read: () => Promise<T | null>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof SegmentError) return null;
    if (!(error instanceof TargetError)) throw error;
    // To archive, a node need not be allowed to read.
    if (error.code === 'NO_ACCESS') return unread;
    if (error.code === 'NOT_FOUND') return null;
    throw error;
  }
}
