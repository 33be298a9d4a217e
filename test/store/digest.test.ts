/** The digest of a later position: the sum of what is there, corrected by what the stream has in between. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import Database, { type Database as Connection } from 'better-sqlite3';
import { offset } from '../../src/replication/position.ts';
import { DigestAt, digestOf } from '../../src/store/checks/digest.ts';
import { entryChecksum } from '../../src/store/keyspace/entry-checksum.ts';
import { prepareKeyspace } from '../../src/store/keyspace/keyspace-schema.ts';
import type { Command } from '../../src/stream/command.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

type Entries = Map<string, readonly [value: Buffer, expiresAt: number | null]>;

async function file(t: TestContext): Promise<Connection> {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const db = new Database(path);
  t.after(() => db.close());
  prepareKeyspace(db, path, { runId: runId('a'), offset: offset(1) });
  return db;
}

function fill(db: Connection, entries: Entries): void {
  db.exec('DELETE FROM entries');
  const insert = db.prepare(
    'INSERT INTO entries (key, value, version, expires_at, checksum) VALUES (?, ?, 1, ?, ?)',
  );
  for (const [key, [value, expiresAt]] of entries)
    insert.run(key, value, expiresAt, entryChecksum(key, value, 1, expiresAt));
}

function apply(entries: Entries, command: Command): void {
  switch (command.kind) {
    case 'set':
      entries.set(command.key, [command.value, command.expiresAt]);
      return;
    case 'del':
      for (const key of command.keys) entries.delete(key);
      return;
    case 'flush-all':
      entries.clear();
      return;
    default: {
      const entry = entries.get(command.key);
      const expiresAt = command.kind === 'persist' ? null : command.expiresAt;
      if (entry !== undefined) entries.set(command.key, [entry[0], expiresAt]);
    }
  }
}

test('the digest that commands correct equals the digest of the entries after them', async (t) => {
  const db = await file(t);
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (end: number): number => Math.floor(random() * end);
  const key = (): string => ['é', '', 'key'][below(3)] + String(below(12));
  const expiry = (): number => 4e12 + below(3);
  const command = (): Command => {
    switch (below(12)) {
      case 0:
        return random() < 0.3 ? { kind: 'flush-all' } : { kind: 'del', keys: [key(), key(), key()] };
      case 1:
      case 2:
        return { kind: 'del', keys: [key()] };
      case 3:
      case 4:
        return { kind: 'expire-at', key: key(), expiresAt: expiry() };
      case 5:
        return { kind: 'persist', key: key() };
      default:
        return {
          kind: 'set',
          key: key(),
          value: Buffer.from(`v${below(3)}`),
          expiresAt: random() < 0.3 ? expiry() : null,
        };
    }
  };
  for (let round = 0; round < 200; round += 1) {
    const entries: Entries = new Map();
    for (let count = below(20); count > 0; count -= 1) apply(entries, command());
    fill(db, entries);
    const digest = new DigestAt(db);
    for (let count = below(20); count > 0; count -= 1) {
      const next = command();
      digest.apply(next);
      apply(entries, next);
    }
    const { keys, digest: corrected } = digest.end();
    fill(db, entries);
    const whole = digestOf(db);
    assert.deepEqual(
      { keys, digest: corrected },
      { keys: whole.keys, digest: whole.digest },
      `round ${round}`,
    );
  }
});
