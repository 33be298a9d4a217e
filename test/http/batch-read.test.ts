/** Batches of only reads: many of them let the event loop turn, and still show one state. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type BatchReader,
  isSmallRead,
  readAtOnce,
  readBytes,
  readInTurns,
} from '../../src/http/routes/keys/batch-read.ts';
import type { Entry } from '../../src/keyspace/entry.ts';
import type { Operation } from '../../src/keyspace/write.ts';
import { ZERO } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const READS: readonly Operation[] = Array.from({ length: 10_000 }, (_, index) => ({
  kind: 'get',
  key: `k${index}`,
}));

/** Busy for so long, as a lookup in the file is. */
function busy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** A node whose file takes time for each lookup. */
class SlowNode implements BatchReader {
  readonly position = { runId: runId('a'), offset: ZERO };
  appliedCount = 0;
  /** What the overlay knows; null: the entry is deleted. */
  readonly above = new Map<string, Entry | null>();
  readonly below = new Map<string, Entry>();
  lookups = 0;
  #inTurn = 0;
  /** Largest number of lookups in one turn of the event loop. */
  mostInTurn = 0;

  get(key: string): Entry | null {
    const above = this.above.get(key);
    if (above !== undefined) return above;
    this.#looked();
    return this.below.get(key) ?? null;
  }

  outline(key: string): { size: number; version: number; expiresAt: number | null } | null {
    const entry = this.get(key);
    return entry && { size: entry.value.length, version: entry.version, expiresAt: entry.expiresAt };
  }

  knowsAbove(key: string): boolean {
    return this.above.has(key);
  }

  set(key: string, version: number): void {
    this.above.set(key, { value: Buffer.from(String(version)), version, expiresAt: null });
  }

  #looked(): void {
    busy(0.01);
    this.lookups += 1;
    if (this.#inTurn === 0) {
      setImmediate(() => {
        this.#inTurn = 0;
      });
    }
    this.#inTurn += 1;
    this.mostInTurn = Math.max(this.mostInTurn, this.#inTurn);
  }
}

test('thousands of reads of absent keys are divided among turns of the event loop', async () => {
  const node = new SlowNode();
  assert.equal(isSmallRead(READS, 0), false);
  assert.equal(await readBytes(node, READS), 0);
  const { results } = await readInTurns(node, READS, 0);
  assert.ok(results.every(({ existed }) => !existed));
  assert.equal(
    node.lookups,
    2 * READS.length,
    'each key is looked up once to admit the batch, and once to read it',
  );
  assert.ok(node.mostInTurn <= READS.length / 4, `${node.mostInTurn} in one turn`);
});

test('few reads are done at once', async () => {
  const node = new SlowNode();
  const few = READS.slice(0, 500);
  assert.equal(isSmallRead(few, 0), true);
  await readBytes(node, few);
  readAtOnce(node, few);
  assert.equal(node.mostInTurn, 1_000);
});

test('a divided read shows the state at its end, whatever is written and applied meanwhile', async () => {
  const node = new SlowNode();
  for (const { key } of READS) node.below.set(key, { value: Buffer.from('0'), version: 0, expiresAt: null });
  let isDone = false;
  let version = 0;
  // Both keys change in one step, so no state has them different.
  const writing = (async () => {
    while (!isDone && version < 40) {
      await nextTurn();
      version += 1;
      node.set('k0', version);
      node.set('k9999', version);
      if (version % 3 === 0) {
        for (const [key, entry] of node.above) if (entry !== null) node.below.set(key, entry);
        node.above.clear();
        node.appliedCount += 1;
      }
    }
  })();
  const { results } = await readInTurns(node, READS, READS.length);
  const versionAtEnd = version;
  isDone = true;
  await writing;
  assert.equal(results[0]?.entry?.version, results[9_999]?.entry?.version);
  assert.ok((results[0]?.entry?.version ?? 0) <= versionAtEnd);
  assert.ok((results[0]?.entry?.version ?? 0) > 0);
});
