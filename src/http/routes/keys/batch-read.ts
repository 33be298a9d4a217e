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
import { slices } from '../../request/slices.ts';

/** Bytes of values to read before the event loop's next turn comes first. */
const TURN_BYTES = 4 * 1024 * 1024;
/** Number of rounds that look for entries changed meanwhile; then the rest is read at once. */
const MAX_ROUNDS = 4;

export interface BatchRead {
  readonly results: readonly OperationResult[];
  readonly position: string;
}

type Reader = Pick<Node, 'get' | 'outline' | 'position'>;

/** @returns bytes of values that the `get`s of the batch would read now; a value that is read twice counts twice */
export function readBytes(node: Pick<Node, 'outline'>, operations: readonly Operation[]): number {
  let bytes = 0;
  for (const { kind, key } of operations) if (kind === 'get') bytes += node.outline(key)?.size ?? 0;
  return bytes;
}

/** @throws Refusal BATCH_TOO_LARGE */
export function readAtOnce(node: Reader, operations: readonly Operation[]): BatchRead {
  const results = decideReads(operations, (key) => node.get(key));
  return { results, position: formatPosition(node.position) };
}

/**
 * Reads `TURN_BYTES` in each turn of the event loop, and reads entries again that other requests changed meanwhile,
 * until none has changed.
 * @throws Refusal BATCH_TOO_LARGE
 */
export async function readInTurns(node: Reader, operations: readonly Operation[]): Promise<BatchRead> {
  requireFew(node, operations);
  const keys = new Set(operations.map(({ key }) => key));
  const entries = new Map<string, Entry | null>();
  const known = (key: string): Entry | null => entries.get(key) ?? null;
  let kept = 0;
  const turns = slices();
  let inTurn = 0;
  let { runId } = node.position;
  let isWhole = false;
  for (let round = 0; !isWhole; round += 1) {
    isWhole = true;
    if (node.position.runId !== runId) {
      // Versions of another history cannot be compared.
      runId = node.position.runId;
      entries.clear();
      kept = 0;
    }
    for (const key of keys) {
      if (entries.has(key) && isSame(known(key), node.outline(key))) continue;
      isWhole = false;
      kept -= known(key)?.value.length ?? 0;
      entries.delete(key);
      const entry = node.get(key);
      entries.set(key, entry);
      const bytes = entry?.value.length ?? 0;
      kept += bytes;
      inTurn += bytes;
      // The values have grown since the batch was admitted; this call says which operation is too much.
      if (kept > MAX_BATCH_READ_BYTES) decideReads(operations, known);
      if (inTurn < TURN_BYTES || round >= MAX_ROUNDS) continue;
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
function requireFew(node: Reader, operations: readonly Operation[]): void {
  let bytes = 0;
  for (const [index, { key }] of operations.entries()) {
    bytes += node.outline(key)?.size ?? 0;
    requireReadable(bytes, index);
  }
}

function isSame(entry: Entry | null, now: ReturnType<Reader['outline']>): boolean {
  return entry?.version === now?.version && entry?.expiresAt === now?.expiresAt;
}
