/** A frozen keyspace file with the sessions that read it, and the replicas that may come back for the rest of it. */
import type { Position } from '../../replication/position.ts';
import type { FrozenFile } from '../ports/keyspace.ts';

/**
 * The checksums of a file that replicas read: the CRC-32 of its first bytes, for the end of each part that was sent. With them a
 * sender can go on in the middle of the file and still tell the checksum of all of it.
 */
export class SnapshotSums {
  readonly #partBytes: number;
  /** The CRC-32 of the first part, of the first two parts, and so on. */
  readonly #sums: number[] = [];

  /** @param partBytes size of one part */
  constructor(partBytes: number) {
    this.#partBytes = partBytes;
  }

  /** Notes a checksum. Only the one of the next whole part is new. @param crc32 of the first `bytes` bytes */
  note(bytes: number, crc32: number): void {
    if (bytes === (this.#sums.length + 1) * this.#partBytes) this.#sums.push(crc32);
  }

  /** @returns the CRC-32 of the first `bytes` bytes; null: it is not known */
  at(bytes: number): number | null {
    return this.#sums[bytes / this.#partBytes - 1] ?? null;
  }
}

export class SharedFile {
  /** The head's position when the file was asked for; the position of the file is this one or a later one. */
  readonly at: Position;
  readonly file: Promise<FrozenFile>;
  /** Whether a replica has found it damaged. */
  isDamaged = false;
  /** The number of sessions that read the file. The first one has asked for it. */
  #readers = 1;
  #ready: FrozenFile | null = null;
  #sums: SnapshotSums | null = null;
  /**
   * The number of replicas that have left and not come back. A replica may come back before this node knows that it has left, so the
   * number may be negative for a moment.
   */
  #away = 0;
  #keptUntil = Number.NEGATIVE_INFINITY;
  #given = 0;
  /** Ends the wait for a replica. */
  #stopKeeping: () => void = () => undefined;

  constructor(at: Position, file: Promise<FrozenFile>) {
    this.at = at;
    this.file = file;
    file.then(
      (ready) => {
        this.#ready = ready;
      },
      // Each session that waits for the file gets the error.
      () => undefined,
    );
  }

  get readers(): number {
    return this.#readers;
  }

  /** The file; null: it is not frozen yet, or cannot be. */
  get ready(): FrozenFile | null {
    return this.#ready;
  }

  /** The checksums of the file; null: nobody has begun to send it. */
  get sums(): SnapshotSums | null {
    return this.#sums;
  }

  /** Moment of the monotonic clock up to which the file waits for replicas that have left; in the past if it waits for none. */
  get keptUntil(): number {
    return this.#away > 0 ? this.#keptUntil : Number.NEGATIVE_INFINITY;
  }

  /** The most bytes of the file that a replica was sent that has left. */
  get given(): number {
    return this.#given;
  }

  /** @returns the checksums of the file, for one more sender */
  sumsOf({ partBytes }: FrozenFile): SnapshotSums {
    this.#sums ??= new SnapshotSums(partBytes);
    return this.#sums;
  }

  /** One more session reads the file: it does not wait any more. */
  enter(): void {
    this.#stopKeeping();
    this.#readers += 1;
  }

  /** A session reads the file no more. */
  exit(): void {
    this.#readers -= 1;
  }

  /** A replica has left. @param until moment up to which the file waits for it; null: no longer than for those before */
  left(given: number, until: number | null): void {
    this.#away += 1;
    this.#given = Math.max(this.#given, given);
    if (until !== null) this.#keptUntil = until;
  }

  /** A replica has come back, or does not need to. */
  returned(): void {
    this.#away -= 1;
  }

  /** The file waits for a replica. @param stop ends the wait */
  keep(stop: () => void): void {
    this.#stopKeeping = stop;
  }

  /** Gives the file back; nobody reads it. */
  thaw(): void {
    this.#stopKeeping();
    this.#ready?.release();
  }
}
