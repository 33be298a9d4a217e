/** What waits for somebody else's code leaves nothing behind. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Client } from '../../src/client/full/client.ts';

test('a signal of another world, which the platform refuses, leaves no timer behind', async (t) => {
  const set = t.mock.method(globalThis, 'setTimeout');
  const cleared = t.mock.method(globalThis, 'clearTimeout');
  // Such as that of a test with jsdom, whose methods are there.
  const methods = { aborted: false, throwIfAborted: () => undefined };
  const signal = Object.assign(new EventTarget(), methods) as unknown as AbortSignal;
  const node = new Client('http://127.0.0.1:9', { retries: 0 });
  for (const call of [node.get('k', { signal }), node.import('', { signal })]) {
    await assert.rejects(call, TypeError);
  }
  const timers = new Set(set.mock.calls.map(({ result }) => result));
  for (const { arguments: ended } of cleared.mock.calls) timers.delete(ended[0] as never);
  assert.equal(timers.size, 0);
});
