/** Faults of listeners, and of what they are reported to. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { call } from '../../src/client/report.ts';

test('a page whose own handler of errors throws stops nothing', async (t) => {
  const reported = t.mock.method(console, 'error', () => assert.fail('the console throws too'));
  call(() => assert.fail('thrown'), 1);
  call(() => Promise.reject(new Error('rejected')), 1);
  await new Promise(setImmediate);
  assert.deepEqual(
    reported.mock.calls.map(({ arguments: [error] }) => (error as Error).message),
    ['thrown', 'rejected'],
  );
});
