/** `Client` of psyncd/client with a real node: each call does what its name says, and each error has its code. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ApiError } from '../../src/client/api-error.ts';
import { Cluster, textOf } from '../support/cluster.ts';

test('the conditions and expiry that `set` and `delete` of the client take are carried out', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const { client } = node;
  const failed = { name: 'ApiError', status: 412, code: 'PRECONDITION_FAILED' };
  const first = await client.set('k', 'one', { ifAbsent: true });
  assert.deepEqual([first.created, first.expiresAt], [true, null]);
  await assert.rejects(client.set('k', 'two', { ifAbsent: true }), failed);
  const second = await client.set('k', 'two', { ttl: 1_000.5, ifVersion: first.version });
  assert.ok(second.expiresAt !== null);
  await assert.rejects(client.set('k', 'three', { ifVersion: first.version }), failed);
  await assert.rejects(client.delete('k', { ifVersion: first.version }), failed);
  assert.equal(await textOf(node, 'k'), 'two');
  assert.equal(await client.delete('k', { ifVersion: second.version }), true);
});

test('increment, append and patch of the client change the value and return it', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const { client } = node;
  assert.equal((await client.increment('n')).value, 1);
  const { value, version } = await client.increment('n', '41');
  assert.equal(value, 42);
  await assert.rejects(client.increment('n', 1, { ifVersion: version - 1 }), { code: 'PRECONDITION_FAILED' });
  assert.equal((await client.append('a/b', 'ü')).size, 2);
  assert.equal((await client.append('a/b', new Uint8Array([0x21]))).size, 3);
  assert.equal(await textOf(node, 'a/b'), 'ü!');
  await client.set('json', '{"a":1,"b":2}');
  await client.patch('json', { a: null, c: [3] });
  assert.equal(await textOf(node, 'json'), '{"b":2,"c":[3]}');
  await assert.rejects(client.patch('a/b', {}), { code: 'NOT_JSON' });
});

test('a batch is done as a whole, or says which operation it was', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const { client } = node;
  const { results, position } = await client.batch([
    { op: 'set', key: 'a', value: { deep: true }, encoding: 'json', ttl: 60 },
    { op: 'set', key: 'b', value: 'AP8=', encoding: 'base64', ifAbsent: true },
    { op: 'increment', key: 'n' },
    { op: 'get', key: 'b' },
    { op: 'delete', key: 'none' },
  ]);
  assert.equal(position, (await client.replication()).position);
  assert.partialDeepStrictEqual(results, [
    { created: true },
    { created: true },
    { value: 1 },
    { found: true, value: 'AP8=', encoding: 'base64' },
    { deleted: false },
  ]);
  const conflict = client.batch([
    { op: 'delete', key: 'a' },
    { op: 'set', key: 'b', value: 'x', ifAbsent: true },
  ]);
  await assert.rejects(conflict, (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.code, error.problem.op], ['PRECONDITION_FAILED', 1]);
    return true;
  });
  assert.equal(await textOf(node, 'a'), '{"deep":true}');
});

test('a batch refuses keys and values with half of a surrogate pair, and sends every other text as it is', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const { client } = node;
  for (const [key, value] of [
    ['\ud800', 'v'],
    ['k', 'a\udc00'],
  ] as const) {
    await assert.rejects(client.batch([{ op: 'set', key, value }]), { code: 'BAD_REQUEST' });
  }
  for (const key of ['.', '..', 'a/../b', '%2e', '\u{1f600}', '\0']) {
    await client.batch([{ op: 'set', key, value: '\u{1f600}' }]);
    const { results } = await client.batch([{ op: 'get', key }]);
    assert.equal(results[0]?.value, '\u{1f600}', key);
  }
  await client.set('a/../b', '\u{1f600}\uffff');
  assert.equal(await textOf(node, 'a/../b'), '\u{1f600}\uffff');
});
