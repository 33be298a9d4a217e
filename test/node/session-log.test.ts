/** The lines of the log about sessions that never showed that they may replicate. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { LockedCount } from '../../src/node/session/session-log.ts';

test('connections without a token are logged at the first one, and then as a sum, once a minute', () => {
  let now = 5;
  const lines: unknown[] = [];
  const log = {
    debug() {},
    info: (_event: string, fields: unknown) => lines.push(fields),
    warn() {},
    error() {},
  };
  const count = new LockedCount(log, () => now);
  count.add('a', 'first');
  for (let each = 0; each < 1_000; each += 1) count.add('b', 'second');
  now += 59_999;
  count.add('c');
  assert.deepEqual(lines, [{ connections: 1, last: 'a', reason: 'first' }]);
  now += 1;
  count.add('d', 'last');
  assert.deepEqual(lines.slice(1), [{ connections: 1_002, last: 'd', reason: 'last' }]);
});
