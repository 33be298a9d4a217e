/** Settings with which psyncd.db is opened or made. */
import type { RunId } from '../../replication/position.ts';

export type FsyncPolicy = 'always' | 'everysec' | 'no';

export interface StateFileSettings {
  readonly fsync: FsyncPolicy;
  /** Identifies this boot of the machine; null: unknown. */
  readonly bootId: string | null;
  readonly newRunId: () => RunId;
  /** URL `ws://HOST:PORT` of the master that a new node follows; null: the new node is a master. */
  readonly upstream: string | null;
}
