/** Port: the keyspace files of a data folder, and snapshots that arrive. `src/store` implements it. */
import type { Position } from '../../replication/position.ts';
import type { Keyspace } from './keyspace.ts';
import type { KeptFile } from './state-store.ts';

/** Takes the bytes of a snapshot that arrives. */
export interface SnapshotSink {
  /** The n of its `keyspace-<n>.db`: no other file had it while this process runs. */
  readonly keyspaceNumber: number;
  /** Takes the bytes with their memory, which nobody else may use any more. Resolves when they are written, and more may come. */
  write(parts: readonly Buffer[]): Promise<void>;
  /**
   * Forgets what came behind the last whole part, because the rest of the snapshot comes on another connection.
   * @returns the number of bytes that stay, and their CRC-32 as they were read back; what is written next follows them
   */
  rewind(): Promise<{ readonly bytes: number; readonly crc32: number }>;
  /**
   * Makes it durable and checks that it is a keyspace file of exactly this position.
   * @throws DamagedSnapshot that says what is wrong with the file; another Error when it cannot be kept or checked
   * @param crc32 what the CRC-32 of the file must be; null: it is not known
   * @returns whether there is no entry in it
   */
  finish(expected: Position, crc32: number | null): Promise<{ readonly empty: boolean }>;
  /** Deletes what came. */
  discard(): Promise<void>;
}

export interface KeyspaceFiles {
  /** The schema of the files: every file that is open has it. */
  readonly schema: number;
  open(keyspaceNumber: number): Promise<Keyspace>;
  receive(length: number): Promise<SnapshotSink>;
  remove(keyspaceNumber: number): Promise<void>;
  /** Gives a file that is closed the name under which it is kept; it is one file then. */
  keep(file: KeptFile): Promise<void>;
  /** Removes a file that was kept. */
  removeKept(file: KeptFile): Promise<void>;
}
