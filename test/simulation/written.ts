import type { Entry } from '../../src/keyspace/entry.ts';
import { type Changes, recordsOf } from '../../src/keyspace/overlay/changes.ts';

/** The entries of a keyspace file after the applier has written `changes` into it. */
export function written(entries: ReadonlyMap<string, Entry>, changes: Changes): Map<string, Entry> {
  const records = recordsOf(changes);
  const after = new Map(changes.flushed ? [] : entries);
  for (const address of changes.addresses) {
    const key = records.key(address);
    if (records.isDeleted(address)) {
      after.delete(key);
      continue;
    }
    const value = Buffer.from(records.view(address));
    after.set(key, { value, version: records.version(address), expiresAt: records.expiresAt(address) });
  }
  return after;
}
