/** Answers a batch of only `get`s: all of them show the state at one position. */
import type { Entry } from '../../../keyspace/entry.ts';
import {
  decideReads,
  MAX_BATCH_READ_BYTES,
  type Operation,
  type OperationResult,
  requireReadable,
} from '../../../keyspace/write.ts';
import type { Node } from '../../../node/node.ts';
import { formatPosition } from '../../../replication/position.ts';
import { AT_ONCE_BYTES, slices } from '../../request/slices.ts';

/** Bytes of values to read before the event loop's next turn comes first. */
const TURN_BYTES = 4 * 1024 * 1024;
/** Number of rounds that look for entries changed meanwhile; then the rest is read at once. */
const MAX_ROUNDS = 4;
/** Largest number of entries that are read at once: about three milliseconds. */
const AT_ONCE_READS = 500;
/** Number of entries between two looks at the clock. */
const SLICE_READS = 100;

export interface BatchRead {
  readonly results: readonly OperationResult[];
  readonly position: string;
}

export type BatchReader = Pick<Node, 'get' | 'outline' | 'position' | 'appliedCount' | 'knowsAbove'>;

/**
 * Looks at the sizes, in slices if there are many.
 * @returns bytes of values that the `get`s of the batch would read now; a value that is read twice counts twice
 */
export async function readBytes(
  node: Pick<Node, 'outline'>,
  operations: readonly Operation[],
): Promise<number> {
  const turns = slices();
  let bytes = 0;
  for (const [index, { kind, key }] of operations.entries()) {
    if (index % SLICE_READS === SLICE_READS - 1 && index >= AT_ONCE_READS) await turns.next();
    if (kind === 'get') bytes += node.outline(key)?.size ?? 0;
  }
  return bytes;
}

/** Whether a batch of only `get`s may be read at once. @param bytes of the values that it reads */
export function isSmallRead(operations: readonly Operation[], bytes: number): boolean {
  return bytes <= AT_ONCE_BYTES && operations.length <= AT_ONCE_READS;
}

/** @throws Refusal BATCH_TOO_LARGE */
export function readAtOnce(node: BatchReader, operations: readonly Operation[]): BatchRead {
  const results = decideReads(operations, (key) => node.get(key));
  return { results, position: formatPosition(node.position) };
}

/**
 * Reads in slices, of up to `TURN_BYTES`, and reads entries again that other requests changed meanwhile, until none has changed.
 * @param bytes of the values, when the batch was admitted
 * @throws Refusal BATCH_TOO_LARGE
 */
export async function readInTurns(
  node: BatchReader,
  operations: readonly Operation[],
  bytes: number,
): Promise<BatchRead> {
  if (bytes > MAX_BATCH_READ_BYTES) requireFew(node, operations);
  const keys = new Set(operations.map(({ key }) => key));
  const entries = new Map<string, Entry | null>();
  const known = (key: string): Entry | null => entries.get(key) ?? null;
  let kept = 0;
  const turns = slices();
  let inTurn = 0;
  let { runId } = node.position;
  let applied = node.appliedCount;
  let isWhole = false;
  for (let round = 0; !isWhole; round += 1) {
    // Entries that are looked up in the file again take as long as the first time, so other requests come in between.
    isWhole = node.appliedCount === applied;
    applied = node.appliedCount;
    if (node.position.runId !== runId) {
      // Versions of another history cannot be compared.
      runId = node.position.runId;
      entries.clear();
      kept = 0;
    }
    const isFileSame = isWhole;
    let looks = 0;
    for (const key of keys) {
      looks += 1;
      if (!entries.has(key) || !isUnchanged(node, key, known(key), isFileSame)) {
        isWhole = false;
        kept -= known(key)?.value.length ?? 0;
        entries.delete(key);
        const entry = node.get(key);
        entries.set(key, entry);
        const length = entry?.value.length ?? 0;
        kept += length;
        inTurn += length;
        // The values have grown since the batch was admitted; this call says which operation is too much.
        if (kept > MAX_BATCH_READ_BYTES) decideReads(operations, known);
      }
      // A round that has found no change so far shows the state at one position only if nothing comes in between.
      if (isWhole || round >= MAX_ROUNDS) continue;
      if (inTurn < TURN_BYTES && (looks % SLICE_READS !== 0 || !turns.isOver)) continue;
      inTurn = 0;
      await turns.pass();
    }
  }
  return { results: decideReads(operations, known), position: formatPosition(node.position) };
}

/**
 * Checks the size before any value is read.
 * @throws Refusal BATCH_TOO_LARGE
 */
function requireFew(node: BatchReader, operations: readonly Operation[]): void {
  let bytes = 0;
  for (const [index, { key }] of operations.entries()) {
    bytes += node.outline(key)?.size ?? 0;
    requireReadable(bytes, index);
  }
}

/** @param isFileSame whether the keyspace file has not changed since the entry was read; then the overlay tells all changes */
function isUnchanged(node: BatchReader, key: string, entry: Entry | null, isFileSame: boolean): boolean {
  if (isFileSame && (entry?.expiresAt ?? null) === null && !node.knowsAbove(key)) return true;
  return isSame(entry, node.outline(key));
}

function isSame(entry: Entry | null, now: ReturnType<BatchReader['outline']>): boolean {
  return entry?.version === now?.version && entry?.expiresAt === now?.expiresAt;
}
