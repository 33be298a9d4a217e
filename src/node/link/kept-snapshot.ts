/**
 * The part of a snapshot that a link has when its connection breaks, for the next connection: at most one, for a limited time.
 *
 * Owns: the unfinished file. A link that ends drops it, because another link asks another master, or the same one for something
 * else. It does not survive the process: a start removes every file that psyncd.db does not name, and a part of a file that no
 * fsync has covered may have lost bytes in a crash.
 */
import type { LinkEffect } from '../../replication/link-phases.ts';
import { formatPosition } from '../../replication/position.ts';
import { formatPartial, type PartialSnapshot } from '../../replication/snapshot-terms.ts';
import { inLogOf, telling } from '../ports/failures.ts';
import type { KeyspaceFiles, SnapshotSink } from '../ports/keyspace-files.ts';
import type { Log, World } from '../ports/world.ts';
import { unattended } from '../unattended.ts';

/**
 * Milliseconds for which a replica keeps a part of a snapshot. It is longer than the master waits for the replica, because the replica may
 * notice first that the connection is gone.
 */
export const KEEP_MS = 300_000;

/** What the status of a link says of the part. */
export interface KeptStatus {
  /** Present while a part is kept. */
  readonly keptSnapshot?: {
    readonly position: string;
    /** Bytes of the whole snapshot. */
    readonly length: number;
    /** Number of its first bytes that are kept. */
    readonly bytes: number;
    /** What the next connection announces, `formatPartial`; null: whoever asks may not know the checksum in it. */
    readonly announced: string | null;
  };
}

/** A part of a snapshot, and the file that takes the rest. */
export interface Unfinished {
  readonly partial: PartialSnapshot;
  readonly sink: SnapshotSink;
}

export class KeptSnapshot {
  readonly #world: World;
  readonly #log: Log;
  #kept: Unfinished | null = null;
  #cancel: () => void = () => undefined;

  constructor(world: World, log: Log) {
    this.#world = world;
    this.#log = log;
  }

  /** The part; null: none is kept. */
  get partial(): PartialSnapshot | null {
    return this.#kept?.partial ?? null;
  }

  get status(): KeptStatus {
    const { partial } = this;
    if (partial === null) return {};
    const { position, length, bytes } = partial;
    const announced = formatPartial(partial);
    return { keptSnapshot: { position: formatPosition(position), length, bytes, announced } };
  }

  /** Keeps a part. The one before was taken or dropped. */
  keep(unfinished: Unfinished): void {
    this.#kept = unfinished;
    this.#cancel = this.#world.after(KEEP_MS, () => this.dropSoon());
  }

  /**
   * Takes the part out, if the master sends the rest of it, and drops it otherwise.
   * @returns the file for the announced snapshot: the unfinished one, or a new one
   * @throws Error when the part is not kept any more, or the new file cannot be created
   */
  async fileFor(
    { from, length }: LinkEffect & { kind: 'snapshot' },
    files: Pick<KeyspaceFiles, 'receive'>,
  ): Promise<SnapshotSink> {
    if (from === null || from === 0) {
      await this.drop();
      return files.receive(length);
    }
    const kept = this.#take();
    if (kept?.partial.bytes === from) return kept.sink;
    await discard(kept?.sink, this.#log);
    throw telling(new Error('the part of it that had come is not kept any more'));
  }

  /** Drops the part. Resolves when its file is gone; the log says so if it stays, and the next start removes it. */
  drop(): Promise<void> {
    return discard(this.#take()?.sink, this.#log);
  }

  /** Drops the part, and does not wait for that. */
  dropSoon(): void {
    // `drop` never rejects.
    unattended(this.drop(), () => undefined);
  }

  #take(): Unfinished | null {
    const kept = this.#kept;
    this.#kept = null;
    this.#cancel();
    return kept;
  }
}

/** Removes the file of a snapshot. It never rejects: if the file stays, the log says so, and the next start of the node removes it. */
export async function discard(file: Pick<SnapshotSink, 'discard'> | undefined, log: Log): Promise<void> {
  try {
    await file?.discard();
  } catch (error) {
    log.warn('snapshot-left', { error: inLogOf(error) });
  }
}
