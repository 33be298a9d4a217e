/** Whether the keyspace file and psyncd.db belong together: they are two files, and somebody may have put one of them back alone. */
import { MAX_ANCESTORS } from '../../replication/history.ts';
import { formatPosition, type Position } from '../../replication/position.ts';
import { FilesDamaged, type StateStore } from '../ports.ts';

/**
 * Checks where the keyspace file says that it stands against what psyncd.db knows.
 *
 * The file has the run ID that the node had when the last flush moved it, so after a rename it may be that of an ancestor. A
 * change of the history is on disk before a flush writes the new run ID, so psyncd.db is never behind the file. A lineage
 * that is full may have forgotten the file's run ID: then any is taken.
 *
 * Where the file is ahead of the journal: see `StreamHead.recover`.
 * @param opened where the file stands
 * @throws FilesDamaged when the file is that of another history, or older than the snapshot that this node has adopted
 */
export function checkStanding(
  state: Pick<StateStore, 'history' | 'journalEnd' | 'toldHash'>,
  opened: Position,
): void {
  const { history, toldHash } = state;
  const isKnown =
    opened.runId === history.runId ||
    history.lineage.length >= MAX_ANCESTORS ||
    history.lineage.some(({ runId }) => runId === opened.runId);
  if (!isKnown)
    throw new FilesDamaged(
      `the keyspace file is of another history: it is at ${formatPosition(opened)}, and psyncd.db, whose run ID is ${history.runId}, does not know that run ID`,
    );
  if (toldHash !== null && opened.offset < toldHash.offset && state.journalEnd === null)
    throw new FilesDamaged(
      `the keyspace file ends at byte ${opened.offset}, but the node was at byte ${toldHash.offset}, and the journal is empty`,
    );
}
