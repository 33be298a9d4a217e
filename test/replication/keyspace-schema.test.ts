import assert from 'node:assert/strict';
import test from 'node:test';
import { whyNotServed } from '../../src/replication/link-step.ts';
import { schemaCapability, schemaRefusal } from '../../src/replication/snapshot-terms.ts';

for (const [capabilities, refused] of [
  [[], null],
  [['psync2', 'keyspace-', 'keyspace-x', 'keyspace-3x'], null],
  [['psync2', 'keyspace-3', 'lineage'], null],
  [['keyspace-2', 'keyspace-3'], null],
  [['keyspace-2'], '2'],
  [['keyspace-4', 'keyspace-5'], '4, 5'],
  [['keyspace-33'], '33'],
] as const) {
  test(`a master of schema 3 ${refused === null ? 'serves' : 'refuses'} a replica that knows [${capabilities}]`, () => {
    const line = schemaRefusal(capabilities, 3);
    if (refused === null) assert.equal(line, null);
    else {
      assert.ok(line?.startsWith('-SCHEMA '));
      assert.ok(line?.includes(`the master's keyspace has schema 3, the replica's ${refused}: `), line ?? '');
      assert.equal(whyNotServed(line?.slice(1) ?? ''), 'other-schema');
    }
  });
}

test('a node announces its own schema so that it is understood', () => {
  assert.equal(schemaRefusal([schemaCapability(12)], 12), null);
  assert.notEqual(schemaRefusal([schemaCapability(12)], 13), null);
});
