/** Gives an archive the stream of a node. */
import type { History } from '../../replication/history.ts';
import { type Offset, ZERO } from '../../replication/position.ts';
import { LEAST_FREE_BYTES } from '../head/journal-room.ts';
import type { StreamHead } from '../head/stream-head.ts';
import type {
  Archive,
  ArchivedStream,
  ArchiveNumbers,
  ArchiveStatus,
  CommittedPart,
} from '../ports/archived-stream.ts';
import type { StateStore, TimeMark } from '../ports/state-store.ts';

/** Longest time for which a stop of the node waits until the archive has everything, in milliseconds. */
const ARCHIVE_STOP_MS = 5_000;

/** Longest time for which a replica that shows a roll-back waits for what the archive proves, in milliseconds. */
const PROOF_MS = 5_000;

interface StreamParts {
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  readonly head: StreamHead;
  readonly state: StateStore;
  readonly isSettled: () => boolean;
  readonly outdated: (shared: Offset) => void;
  /** @returns bytes that are free on the disk */
  readonly freeBytes: () => Promise<number>;
}

export class StreamForArchive implements ArchivedStream {
  readonly #parts: StreamParts;
  #archive: Archive | null = null;
  /** When somebody first asked what the archive proves, in milliseconds; null: nobody has. */
  #askedAt: number | null = null;

  constructor(parts: StreamParts) {
    this.#parts = parts;
  }

  get offset(): Offset {
    return this.#parts.head.offset;
  }

  get history(): History {
    return this.#parts.head.history;
  }

  get renamedAt(): Offset | null {
    return this.#parts.state.renamedAt;
  }

  get isSettled(): boolean {
    return this.#parts.isSettled();
  }

  get chainFrom(): Offset {
    return this.#parts.head.chainFrom;
  }

  get journalStart(): Offset | null {
    return this.#parts.state.journalStart;
  }

  get committedParts(): readonly CommittedPart[] {
    return partsOf(this.#parts.state.timeMarks, this.offset);
  }

  hashAt(at: Offset): bigint | null {
    return this.#parts.head.hashAt(at);
  }

  differsAt(at: Offset, hash: bigint | null): boolean {
    const { head } = this.#parts;
    // A hash where a chain begins, or before, says nothing of the bytes.
    if (at > head.offset || at <= head.chainFrom) return false;
    const own = head.hashAt(at);
    if (own !== null && hash !== null) return own !== hash;
    return own === null && head.placeAt(at).kind === 'inside-command';
  }

  rowStart(after: Offset): Offset | null {
    return this.#parts.state.rowWith(after)?.start ?? null;
  }

  read(after: Offset, enoughBytes: number): Buffer {
    return this.#parts.state.read(after, enoughBytes);
  }

  attach(archive: Archive): void {
    const { head } = this.#parts;
    this.#archive = archive;
    head.pin(() => archive.pinned);
    head.onCommit(({ bytes }, from) => archive.committed((from + bytes.length) as Offset));
  }

  /** null: the node archives nothing. */
  get numbers(): ArchiveNumbers | null {
    return this.#archive?.numbers ?? null;
  }

  /** null: the node archives nothing. */
  get status(): ArchiveStatus | null {
    return this.#archive?.status ?? null;
  }

  /** A full resync has replaced the history. */
  replaced(): void {
    this.#archive?.replaced();
  }

  /**
   * Archives what is committed by now, because the node stops.
   * @param limitMs longest wait, in milliseconds; it is `ARCHIVE_STOP_MS` at most
   */
  async finish(limitMs: number): Promise<void> {
    if (limitMs > 0) await this.#archive?.finish(Math.min(ARCHIVE_STOP_MS, limitMs));
  }

  /** Lets `finish` resolve now. @returns false if it was not waiting */
  stopFinishing(): boolean {
    return this.#archive?.stopFinishing() ?? false;
  }

  async close(): Promise<void> {
    await this.#archive?.close();
  }

  /**
   * What an archive lets the node share with the history of its own run ID that others have gone on with.
   * @returns the offset up to which the archive proves that the bytes are the same, 0 if it does not say in time; null: the node archives
   *   nothing; `wait`: the archive is about to say
   */
  get provenShared(): Offset | null | 'wait' {
    if (this.#archive === null) return null;
    const { proven } = this.#archive;
    if (proven !== null) return proven;
    const now = this.#parts.monotonic();
    this.#askedAt ??= now;
    return now - this.#askedAt < PROOF_MS ? 'wait' : ZERO;
  }

  outdated(shared: Offset): void {
    this.#parts.outdated(shared);
  }

  trim(): void {
    this.#parts.head.trimJournal();
  }

  async missingRoom(): Promise<number> {
    const free = await this.#parts.freeBytes();
    return LEAST_FREE_BYTES - free - this.#parts.state.reusableBytes;
  }
}

/** @returns the parts of the stream between the marks, with the latest times that these allow */
function partsOf(marks: readonly TimeMark[], head: Offset): CommittedPart[] {
  const known = marks.filter(({ offset }) => offset < head);
  const [first] = known;
  if (first === undefined) return [];
  const parts = known.map(({ to }, index) => ({ end: known[index + 1]?.offset ?? head, by: to - 1 }));
  return first.offset === 0 ? parts : [{ end: first.offset, by: first.from }, ...parts];
}
