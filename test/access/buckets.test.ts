/** Token buckets: how often somebody may do something. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { clientOf } from '../../src/access/address.ts';
import { Buckets, MAX_BUCKETS } from '../../src/access/buckets.ts';

test('a name may do it as often as its burst at once, and then at its rate', () => {
  let now = 0;
  const buckets = new Buckets(2, 3, () => now);
  const taken = (): boolean[] => Array.from({ length: 5 }, () => buckets.take('a').allowed);
  assert.deepEqual(taken(), [true, true, true, false, false]);
  assert.ok(buckets.take('b').allowed, 'others have their own');
  now = 1_000;
  assert.deepEqual(taken(), [true, true, false, false, false]);
  now = 1_000_000;
  assert.deepEqual(taken(), [true, true, true, false, false]);
  assert.deepEqual(buckets.look('a'), { allowed: false, left: 0, seconds: 1 });
});

test('a clock that stands still or a long rest gives nothing beyond the burst', () => {
  const buckets = new Buckets(10 / 60, 10, () => 5);
  for (let count = 0; count < 10; count += 1) assert.ok(buckets.take('a').allowed);
  assert.deepEqual(buckets.take('a'), { allowed: false, left: 0, seconds: 6 });
});

test('however many names come, so many are remembered', () => {
  const buckets = new Buckets(1, 1, () => 0);
  for (let index = 0; index < MAX_BUCKETS + 10; index += 1) buckets.take(`n${index}`);
  assert.equal(buckets.size, MAX_BUCKETS);
});

test('a client is an IPv4 address, also one within an IPv6 address, or the first half of an IPv6 address', () => {
  const same = [
    ['192.0.2.1', '::ffff:192.0.2.1', '::ffff:c000:201', '0:0:0:0:0:FFFF:C000:0201', '64:ff9b::c000:201'],
    ['192.0.2.2', '::ffff:c000:202', '64:ff9b::192.0.2.2', '0064:FF9B::C000:202'],
    ['64:ff9b:1::1', '64:ff9b:1::2'],
    ['2001:db8::1', '2001:db8:0:0:ffff::2', '2001:0db8::'],
    ['fe80::1%eth0', 'fe80::2'],
    ['::1', '::2', '::1.2.3.4'],
  ];
  const clients = same.map((addresses) => {
    const [first, ...others] = addresses.map(clientOf);
    for (const other of others) assert.equal(other, first);
    return first;
  });
  assert.equal(new Set(clients).size, same.length);
});
