/** Checks that the keyspace file and psyncd.db belong together: somebody may have restored only one of these two files. */
import { MAX_ANCESTORS } from '../../../replication/history.ts';
import { formatPosition, type Position } from '../../../replication/position.ts';
import { FilesDamaged } from '../../ports/failures.ts';
import type { StateStore } from '../../ports/state-store.ts';

/**
 * Compares the position that the keyspace file names with the history in psyncd.db.
 *
 * The file names the run ID that the node had at its last flush; if the history has a new run ID since then, that is the run ID of
 * an ancestor. psyncd.db stores a new run ID before a flush writes it into the file, so psyncd.db knows each run ID that the file
 * can name. Only a full lineage may have forgotten it; then any run ID passes.
 *
 * A file that is ahead of the journal passes; recovery.ts handles it.
 * @param opened the position that the keyspace file names
 * @throws FilesDamaged when the file is of another history, or older than the snapshot that this node has adopted
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
