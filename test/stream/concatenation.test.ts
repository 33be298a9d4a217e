import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { Run } from '../../src/stream/command.ts';
import { concatenation } from '../../src/stream/concatenation.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { array, Encoder } from '../../src/stream/encoder.ts';
import { anyCommand, anyCuts, anyKey, cutAt } from '../support/arbitraries.ts';

test('runs that arrived in pieces make the run that would have arrived at once', () => {
  const group = fc.record({
    commands: fc.array(anyCommand(anyKey), { minLength: 1, maxLength: 4 }),
    isTransaction: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(group, { minLength: 1, maxLength: 6 }), anyCuts, (groups, cuts) => {
      const encoder = new Encoder();
      for (const { commands, isTransaction } of groups) {
        if (isTransaction) encoder.beginTransaction();
        for (const command of commands) encoder.add(command);
        if (isTransaction) encoder.endTransaction();
      }
      const whole = encoder.finish();
      const decoder = new StreamDecoder();
      const runs = cutAt(whole.bytes, cuts).flatMap((piece) => decoder.push(piece) ?? []);
      assert.deepEqual(concatenation(runs), whole);
    }),
  );
});

test('bytes without a command count between the runs around them', () => {
  const ping = array(['PING']);
  const persist = array(['PERSIST', 'k']);
  const decoder = new StreamDecoder();
  const runs = [persist, ping, persist].map((text) => decoder.push(Buffer.from(text)) as Run);
  const [first, second, third] = [
    persist.length,
    persist.length + ping.length,
    2 * persist.length + ping.length,
  ];
  const { ends, boundaries } = concatenation(runs);
  assert.deepEqual(ends, [first, third]);
  assert.deepEqual(boundaries, [first, second, third]);
});

test('one run alone is not copied', () => {
  const run = new StreamDecoder().push(Buffer.from(array(['FLUSHALL']))) as Run;
  assert.equal(concatenation([run]), run);
});
