/** What a replica asks its master for. */
import type { LinkRequest } from '../../replication/link-phases.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type { Adoption } from '../link/adoption.ts';
import type { KeyspaceFiles } from '../ports/keyspace-files.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { HandOverTarget } from './hand-over-target.ts';

interface Asker {
  readonly adoption: Adoption;
  readonly files: KeyspaceFiles;
  readonly head: StreamHead;
  readonly nodeId: string;
  readonly state: StateStore;
}

/**
 * @param listeningUrl the URL that the node listens on, `ws://HOST:PORT`; null: unknown
 * @param target of the hand-over, if this node hands over
 * @returns the request that this node sends to its master now
 */
export function linkRequest(
  { adoption, files, head, nodeId, state }: Asker,
  listeningUrl: string | null,
  target: HandOverTarget,
): LinkRequest {
  const node = { listeningUrl, nodeId, keyspaceSchema: files.schema };
  const { hash, position } = head;
  if (state.handingOver) {
    target.lookAgain();
    return { ...node, position, hash, failover: true };
  }
  const different = adoption.differs && !adoption.distrusted;
  // A node without data asks for a snapshot: its history means nothing to the master.
  const needsSnapshot = adoption.distrusted || different || head.offset === 0;
  return needsSnapshot
    ? { ...node, position: null, hash: null, different, failover: false }
    : { ...node, position, hash, failover: false };
}
