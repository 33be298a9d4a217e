import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import { isMainThread, Worker } from 'node:worker_threads';
import { collectThoroughly } from '../src/runtime/memory/quiet-memory.ts';

const GARBAGE_BYTES = 32 * 1024 * 1024;

/** The heap's size with garbage in it, and when that has been collected. */
function measured(): readonly [number, number] {
  let garbage: object[] | null = [];
  while (v8.getHeapStatistics().used_heap_size < GARBAGE_BYTES) garbage.push({ of: [garbage.length] });
  const before = v8.getHeapStatistics().total_heap_size;
  garbage = null;
  collectThoroughly();
  return [before, v8.getHeapStatistics().total_heap_size];
}

if (isMainThread) {
  test('each thread can give its garbage back to the system, and is not started with a flag for that', async () => {
    const worker = new Worker(new URL(import.meta.url));
    const seen = new Promise<ReturnType<typeof measured>>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    for (const [before, after] of [measured(), await seen])
      assert.ok(after < before / 2, `${before} → ${after}`);
    assert.equal(globalThis.gc, undefined);
  });
} else {
  const { parentPort } = await import('node:worker_threads');
  parentPort?.postMessage(measured());
}
