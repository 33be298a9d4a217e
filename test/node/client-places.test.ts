/** Places for limited work: nobody takes all of them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ClientPlaces, clientShare } from '../../src/node/client-places.ts';

test('a client with its share is refused while another one still gets a place', () => {
  const places = new ClientPlaces(
    () => 3,
    () => 2,
  );
  const leave = [places.take('greedy'), places.take('greedy')];
  assert.equal(places.refusal('greedy'), 'client');
  assert.equal(places.refusal('other'), null);
  const leaveOther = places.take('other');
  assert.equal(places.refusal('third'), 'all');
  leave[0]?.();
  leave[0]?.();
  assert.deepEqual([places.total, places.of('greedy'), places.refusal('greedy')], [2, 1, null]);
  leave[1]?.();
  leaveOther();
  assert.deepEqual([places.total, places.of('greedy'), places.of('other')], [0, 0, 0]);
});

test('limits that change count at once, and with none nobody gets a place', () => {
  let most = 4;
  const places = new ClientPlaces(
    () => most,
    () => clientShare(most),
  );
  for (let count = 0; count < 3; count += 1) places.take('client');
  assert.equal(places.refusal('client'), 'client');
  most = 0;
  assert.equal(places.refusal('another'), 'all');
  most = 8;
  assert.equal(places.refusal('client'), null);
});

test('of one place a client may have it, and of many three quarters', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 10_000].map(clientShare), [0, 1, 2, 3, 3, 7_500]);
});
