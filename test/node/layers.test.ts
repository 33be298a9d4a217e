import assert from 'node:assert/strict';
import test from 'node:test';
import { Layers } from '../../src/node/head/keyspace/layers.ts';
import type { Keyspace } from '../../src/node/ports/keyspace.ts';

const MIB = 1024 * 1024;

test('a change of the overlay size takes effect on the memory of the overlay while the node runs', () => {
  const settings = { overlayBytes: 64 * MIB };
  const { overlay } = new Layers(settings, {} as Keyspace);
  const write = (key: string, end: number): void => {
    const value = Buffer.alloc(MIB / 2);
    overlay.apply({ kind: 'set', key, value, expiresAt: null }, end, () => null);
    overlay.seal(end);
    overlay.applied(end);
  };
  write('a', 1);
  write('b', 2);
  assert.notEqual(overlay.get('a'), undefined);
  settings.overlayBytes = MIB;
  write('c', 3);
  assert.equal(overlay.get('a'), undefined);
});
