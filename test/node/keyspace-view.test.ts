/** Reads at the head, when the overlay is so large that they begin with a flush. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { KeyspaceView } from '../../src/node/head/keyspace/keyspace-view.ts';
import { Layers } from '../../src/node/head/keyspace/layers.ts';
import { StorageError } from '../../src/node/ports/failures.ts';
import type { Keyspace } from '../../src/node/ports/keyspace.ts';
import { offset, type Position, parseRunId, type RunId } from '../../src/replication/position.ts';
import { systemWorld } from '../../src/runtime/system-world.ts';

class View extends KeyspaceView {
  readonly layers: Layers;
  readonly position: Position = { runId: parseRunId('a'.repeat(40)) as RunId, offset: offset(9) };
  flushes = 0;
  failure: Error | null = null;

  constructor(layers: Layers) {
    super(systemWorld, layers);
    this.layers = layers;
  }

  override async flush(): Promise<void> {
    this.flushes += 1;
    if (this.failure !== null) throw this.failure;
    this.layers.countApplied();
  }
}

/** @param size number of keys of the overlay that it is said to have */
function viewed(size: number): View {
  const layers = new Layers({ overlayBytes: 1e6 }, { scan: () => [] } as unknown as Keyspace);
  const value = Buffer.from('v');
  layers.overlay.apply({ kind: 'set', key: 'own:1', value, expiresAt: null }, 9, () => null);
  Object.defineProperty(layers.overlay, 'size', { get: () => size });
  return new View(layers);
}

const PAGE = { prefix: 'own:', after: null, limit: 10, values: true } as const;
const FULL = new StorageError('the disk is full', true);

test('a flush that only makes reads faster does not make them fail when the disk is full', async () => {
  const view = viewed(600_000);
  view.failure = FULL;
  const keysOf = (entries: readonly { readonly key: string }[]): string[] => entries.map(({ key }) => key);
  assert.deepEqual(keysOf((await view.page(PAGE)).entries), ['own:1']);
  assert.deepEqual(keysOf((await view.page(PAGE, true)).entries), ['own:1']);
  assert.deepEqual(keysOf((await view.collect(['own:'], 10, 1_000))?.entries ?? []), ['own:1']);
  const series = viewed(10_001);
  series.failure = FULL;
  assert.deepEqual(keysOf((await series.page(PAGE, true)).entries), ['own:1']);
});

test('after a flush that has failed, reads try none until the applier has changed the file', async () => {
  const view = viewed(600_000);
  view.failure = FULL;
  for (let index = 0; index < 5; index += 1) await view.page(PAGE);
  assert.equal(view.flushes, 1);
  view.failure = null;
  view.layers.countApplied();
  await view.page(PAGE);
  await view.page(PAGE);
  assert.equal(view.flushes, 3);
});

test('another failure of a flush than that of a file is told', async () => {
  const view = viewed(600_000);
  view.failure = new TypeError('a fault');
  await assert.rejects(view.page(PAGE), TypeError);
});
