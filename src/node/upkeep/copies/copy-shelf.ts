/**
 * The copies of the keyspace file that may be downloaded now, and who reads them.
 *
 * Invariant: a copy that somebody reads is never closed. Its name may be gone: the disk gives its room back when the last reader
 * has ended, and until then it counts.
 */
import { formatPosition, type Position } from '../../../replication/position.ts';
import { DISK_RESERVE_BYTES } from '../../head/journal-room.ts';
import type { SnapshotCopy, SnapshotFiles } from '../../ports/snapshot-files.ts';
import type { Log, World } from '../../ports/world.ts';
import { Problem } from '../../problem.ts';
import { logUnexpected, unattended } from '../../unattended.ts';

/** Largest number of copies at the same time. */
const MAX_COPIES = 16;
/** Largest number of downloads at the same time. */
const MAX_DOWNLOADS = 32;
/** Part of a copy's length that must be free on the disk before it is made. */
const ROOM_SHARE = 1.1;
/** Longest time between two looks at the copies, in milliseconds. */
const LOOK_MS = 5_000;
/** Shortest time between two looks, in milliseconds. */
const LEAST_LOOK_MS = 10;
/** Size of one read, in bytes. */
const READ_BYTES = 256 * 1024;

export interface ShelfSettings {
  /** Milliseconds for which a copy stays after it was last read. */
  readonly snapshotKeepMs: number;
  /** Bytes that all copies together may have. */
  readonly snapshotBudgetBytes: number;
}

interface ShelfParts {
  readonly world: World;
  readonly log: Log;
  readonly files: SnapshotFiles;
  readonly settings: ShelfSettings;
}

export interface ShelfNumbers {
  /** Copies that may be downloaded. */
  readonly copies: number;
  /** Their room on the disk, and that of removed copies that are still read. */
  readonly bytes: number;
  /** Downloads that are going on. */
  readonly downloads: number;
  readonly sentBytes: number;
}

/** One download. */
export interface SnapshotDownload {
  readonly copy: SnapshotCopy;
  /** Reads the bytes from `start` to `end`, that one included. It ends early after `close`. */
  bytes(start: number, end: number): AsyncIterable<Buffer>;
  /** Has to be called when the download has ended. */
  close(): void;
}

interface Kept {
  readonly copy: SnapshotCopy;
  readers: number;
  /** Time of the last use, on the monotonic clock. */
  usedAt: number;
  isRemoved: boolean;
}

export class CopyShelf {
  readonly #parts: ShelfParts;
  /** By position; the least recently used first. */
  readonly #kept = new Map<string, Kept>();
  #bytes = 0;
  #downloads = 0;
  #sentBytes = 0;
  #cancelLook: (() => void) | null = null;
  #closed = false;

  constructor(parts: ShelfParts) {
    this.#parts = parts;
  }

  get numbers(): ShelfNumbers {
    return {
      copies: this.#kept.size,
      bytes: this.#bytes,
      downloads: this.#downloads,
      sentBytes: this.#sentBytes,
    };
  }

  /** @returns the copy of exactly this position, which stays for another `snapshotKeepMs`; or null */
  at(position: Position): SnapshotCopy | null {
    return this.#used(position)?.copy ?? null;
  }

  /** @returns the copy that the caller has made, which stays from now on */
  add(copy: SnapshotCopy): SnapshotCopy {
    this.#kept.set(formatPosition(copy.position), {
      copy,
      readers: 0,
      usedAt: this.#parts.world.monotonic(),
      isRemoved: false,
    });
    this.#bytes += copy.length;
    this.#lookLater();
    return copy;
  }

  /**
   * @param sha256 of the bytes that the caller means; null: of any
   * @throws Problem POSITION_LOST if there is no such copy: another one of the same position may have other bytes
   */
  look(position: Position, sha256: string | null): SnapshotCopy {
    return this.#mustHave(position, sha256).copy;
  }

  /** Begins a download. @throws Problem as `look`; TOO_MANY_REQUESTS while `MAX_DOWNLOADS` are going on */
  open(position: Position, sha256: string | null): SnapshotDownload {
    const kept = this.#mustHave(position, sha256);
    if (this.#downloads >= MAX_DOWNLOADS) {
      throw new Problem('TOO_MANY_REQUESTS', `${MAX_DOWNLOADS} downloads of snapshots are going on already`);
    }
    kept.readers += 1;
    this.#downloads += 1;
    let isOpen = true;
    return {
      copy: kept.copy,
      bytes: (start, end) => this.#read(kept, start, end, () => isOpen),
      close: () => {
        if (!isOpen) return;
        isOpen = false;
        this.#downloads -= 1;
        this.#leave(kept);
      },
    };
  }

  /**
   * Makes room for a copy, if necessary by removing copies that nobody reads, the least recently used first.
   * @throws Problem DISK_FULL, TOO_MANY_REQUESTS; StorageError when the disk does not say how much is free
   */
  async makeRoom(bytes: number): Promise<void> {
    const { settings } = this.#parts;
    const budget = settings.snapshotBudgetBytes;
    if (bytes > budget) {
      throw new Problem(
        'DISK_FULL',
        `the snapshot has ${bytes} bytes, and --snapshot-budget allows ${budget}; raise it`,
      );
    }
    while (this.#kept.size >= MAX_COPIES || this.#bytes + bytes > budget) {
      if (await this.#removeOldest()) continue;
      throw new Problem(
        'TOO_MANY_REQUESTS',
        `a new snapshot of ${bytes} bytes has to wait for downloads of earlier ones, which have ${this.#bytes} bytes`,
      );
    }
    await this.freeRoom(bytes, 'snapshot');
  }

  /**
   * Has the disk hold another file of this length, if necessary by removing copies that nobody reads.
   * @throws Problem DISK_FULL; StorageError when the disk does not say how much is free
   */
  async freeRoom(bytes: number, what: 'snapshot' | 'backup'): Promise<void> {
    const { files } = this.#parts;
    const needed = Math.ceil(bytes * ROOM_SHARE);
    for (let free = await files.freeBytes(); free < needed; free = await files.freeBytes()) {
      if (await this.#removeOldest()) continue;
      throw new Problem(
        'DISK_FULL',
        `a ${what} needs ${needed} free bytes on the disk, and there are ${free}`,
      );
    }
  }

  /** Removes the copies of this position and of later ones of its history. */
  forget(from: Position): void {
    for (const kept of [...this.#kept.values()]) {
      const { runId, offset } = kept.copy.position;
      if (runId !== from.runId || offset < from.offset) continue;
      unattended(this.#remove(kept), (error) => this.#unexpected(error));
    }
  }

  /** Removes a copy that was not added. */
  async discard(copy: SnapshotCopy): Promise<void> {
    await copy.remove().catch((error: unknown) => this.#unexpected(error));
    await copy.close().catch((error: unknown) => this.#unexpected(error));
  }

  /** Looks at the copies no more. */
  stop(): void {
    this.#closed = true;
    this.#cancelLook?.();
  }

  /** Removes all copies. */
  async clear(): Promise<void> {
    for (const kept of [...this.#kept.values()]) await this.#remove(kept);
    await this.#parts.files.clear().catch((error: unknown) => this.#unexpected(error));
  }

  #mustHave(position: Position, sha256: string | null): Kept {
    const kept = this.#used(position);
    if (kept !== null && (sha256 === null || sha256 === kept.copy.sha256)) return kept;
    throw new Problem(
      'POSITION_LOST',
      'the node does not have this snapshot any more; start the download anew, with GET /v1/snapshot',
    );
  }

  #used(position: Position): Kept | null {
    const name = formatPosition(position);
    const kept = this.#kept.get(name);
    if (kept === undefined) return null;
    kept.usedAt = this.#parts.world.monotonic();
    this.#kept.delete(name);
    this.#kept.set(name, kept);
    return kept;
  }

  async *#read(kept: Kept, start: number, end: number, isOpen: () => boolean): AsyncGenerator<Buffer> {
    for (let at = start; at <= end; ) {
      if (!isOpen()) return;
      // A new buffer each time: the stream keeps what the socket has not taken.
      const part = await kept.copy.read(at, Buffer.allocUnsafeSlow(Math.min(READ_BYTES, end + 1 - at)));
      at += part.length;
      this.#sentBytes += part.length;
      yield part;
    }
  }

  #leave(kept: Kept): void {
    kept.readers -= 1;
    kept.usedAt = this.#parts.world.monotonic();
    if (kept.isRemoved && kept.readers === 0) this.#end(kept);
  }

  /** @returns false: each copy is being read, or there is none */
  async #removeOldest(): Promise<boolean> {
    for (const kept of this.#kept.values()) {
      if (kept.readers > 0) continue;
      await this.#remove(kept);
      return true;
    }
    return false;
  }

  async #remove(kept: Kept): Promise<void> {
    this.#kept.delete(formatPosition(kept.copy.position));
    kept.isRemoved = true;
    await kept.copy.remove().catch((error: unknown) => this.#unexpected(error));
    if (kept.readers === 0) this.#end(kept);
  }

  #end(kept: Kept): void {
    this.#bytes -= kept.copy.length;
    kept.copy.close().catch((error: unknown) => this.#unexpected(error));
  }

  #lookLater(): void {
    if (this.#closed || this.#cancelLook !== null || this.#kept.size === 0) return;
    const { settings, world } = this.#parts;
    const oldest = Math.min(...[...this.#kept.values()].map(({ usedAt }) => usedAt));
    const dueMs = oldest + settings.snapshotKeepMs - world.monotonic();
    this.#cancelLook = world.after(Math.min(LOOK_MS, Math.max(LEAST_LOOK_MS, dueMs)), () => {
      this.#look()
        .catch((error: unknown) => this.#unexpected(error))
        .finally(() => {
          this.#cancelLook = null;
          this.#lookLater();
        });
    });
  }

  /** Removes the copies that nobody has read for long enough; all that nobody reads if the disk is nearly full. */
  async #look(): Promise<void> {
    const { files, log, settings, world } = this.#parts;
    // A disk that does not say how much is free keeps no copy from its end.
    const free = await files.freeBytes().catch(() => Number.POSITIVE_INFINITY);
    const isFull = free < DISK_RESERVE_BYTES;
    for (const kept of [...this.#kept.values()]) {
      const isOld = world.monotonic() - kept.usedAt >= settings.snapshotKeepMs;
      if (kept.isRemoved || kept.readers > 0 || !(isOld || isFull)) continue;
      log.info('snapshot-removed', {
        position: formatPosition(kept.copy.position),
        reason: isOld ? 'not read' : 'disk full',
      });
      await this.#remove(kept);
    }
  }

  #unexpected(error: unknown): void {
    logUnexpected(this.#parts.log, 'snapshots', error);
  }
}
