/** Makes a keyspace file of a backup. */
import { open as openFile } from 'node:fs/promises';
import { formatPosition, type Position, type RunId } from '../../replication/position.ts';
import { faultPoint } from '../fault-point.ts';
import { damage } from '../keyspace/entry-checksum.ts';
import { prepareKeyspace, readPosition, writePosition } from '../keyspace/keyspace-schema.ts';
import { APPLICATION_IDS } from '../migrate.ts';
import { withUntrusted } from '../untrusted-file.ts';
import { copyLeavingRoom } from './room.ts';
import { checkSeal } from './seal.ts';

/**
 * Copies the backup as a keyspace file, which it is without the manifest.
 * @param runId of the history whose entries the file then has; another one than expected if the node shares nothing with that
 */
export async function copyEntries(
  source: string,
  to: string,
  expected: Position,
  runId: RunId,
): Promise<void> {
  faultPoint('restore-copy');
  await copyLeavingRoom(source, to);
  // The source may have changed since it was checked.
  if ((await checkSeal(to)) !== 'fits')
    throw damage(`${source} has changed, or cannot be read the same way twice`);
  withUntrusted(to, 'write', (db) => {
    db.pragma('synchronous = FULL');
    db.transaction(() => {
      db.exec('DROP TABLE backup');
      db.pragma(`application_id = ${APPLICATION_IDS.keyspace}`);
    })();
    prepareKeyspace(db, to, null);
    const found = formatPosition(readPosition(db));
    if (found !== formatPosition(expected)) throw damage(`${to} is at ${found}`);
    if (runId !== expected.runId) writePosition(db, { runId, offset: expected.offset });
  });
  const file = await openFile(to, 'r+');
  try {
    await file.chmod(0o600);
    await file.sync();
  } finally {
    await file.close();
  }
  faultPoint('restore-copied');
}
