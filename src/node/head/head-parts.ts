/** The settings and ports of the head of the stream, and the type of its listeners. */
import type { Offset } from '../../replication/position.ts';
import type { Run } from '../../stream/command.ts';
import type { Keyspace } from '../ports/keyspace.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { Log, World } from '../ports/world.ts';
import type { JournalKeepSettings } from './journal-keep.ts';

export interface HeadSettings extends JournalKeepSettings {
  /** Size of the backlog at the start, in bytes; `resizeBacklog` changes it. */
  readonly backlogBytes: number;
  /** Memory of the overlay, in bytes, at which writers wait for the applier. It may change while the node runs. */
  readonly overlayBytes: number;
  /** Longest time, in milliseconds, for which a write stays in the journal only, if the applier keeps up. */
  readonly applyIntervalMs: number;
}

export interface HeadParts {
  readonly world: World;
  readonly log: Log;
  readonly settings: HeadSettings;
  readonly state: StateStore;
  readonly keyspace: Keyspace;
  /** @returns bytes that are free on the disk of the files; rejects when the disk does not say */
  freeBytes(): Promise<number>;
  /** The head reports that the node must end. A restart repairs the node and loses nothing. */
  failed(error: Error): void;
}

/** Receives each committed run and the offset before it. The bytes of a run never change. */
export type CommitListener = (run: Run, from: Offset) => void;
