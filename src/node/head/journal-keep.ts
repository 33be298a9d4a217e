/**
 * How much of the stream the journal keeps although neither the keyspace file nor the backlog needs it, so that a replica or
 * follower that was away for long continues from the disk.
 *
 * Owns: where the journal begins, and marks of when the stream had come how far, to keep the bytes of a time.
 */
import type { Window } from '../../replication/backlog.ts';
import type { Offset } from '../../replication/position.ts';

export interface JournalKeepSettings {
  /** Bytes of the stream that the journal keeps at most; 0: only what is needed. */
  readonly journalKeepBytes: number;
  /** Milliseconds for which the journal keeps what was committed; null: for any time. */
  readonly journalKeepMs: number | null;
}

/** Parts of the time between which marks stand: the journal keeps up to one part more than the time. */
const PARTS = 64;

interface Mark {
  /** All bytes after this offset were committed at `at` or later. */
  readonly offset: Offset;
  /** Moment of the monotonic clock, in milliseconds. */
  readonly at: number;
}

export class JournalKeep {
  readonly #settings: JournalKeepSettings;
  readonly #damagedUpTo: () => Offset | null;
  #marks: Mark[];
  /** The offset before the first byte in the journal; null: the journal is empty. */
  #start: Offset | null;
  /** Nothing up to this offset is kept any more, because the room was needed. */
  #givenUpTo = 0;

  /**
   * @param start the offset before the first byte in the journal; null: the journal is empty
   * @param now monotonic clock; what is in the journal from earlier runs counts as committed now
   * @param damagedUpTo tells the end of what was found damaged; nothing up to there is kept
   */
  constructor(
    settings: JournalKeepSettings,
    start: Offset | null,
    now: number,
    damagedUpTo: () => Offset | null = () => null,
  ) {
    this.#settings = settings;
    this.#damagedUpTo = damagedUpTo;
    this.#start = start;
    this.#marks = [{ offset: 0 as Offset, at: now }];
  }

  /** Takes note that a commit begins after this offset now. */
  committed(after: Offset, now: number): void {
    this.#start ??= after;
    const { journalKeepMs } = this.#settings;
    if (journalKeepMs === null) return;
    const last = this.#marks.at(-1) as Mark;
    if (now - last.at >= journalKeepMs / PARTS) this.#marks.push({ offset: after, at: now });
    // The time may have become shorter while the node runs.
    if (this.#marks.length > 2 * PARTS) this.#forget(now - journalKeepMs);
  }

  /**
   * @param head offset of the last byte of the stream
   * @returns the offset after which the journal keeps everything; `head`: it keeps nothing
   */
  from(head: Offset, now: number): number {
    const { journalKeepBytes, journalKeepMs } = this.#settings;
    const bySize = Math.max(this.#givenUpTo, this.#damagedUpTo() ?? 0, head - journalKeepBytes);
    if (journalKeepBytes === 0 || journalKeepMs === null) return Math.min(head, bySize);
    this.#forget(now - journalKeepMs);
    return Math.min(head, Math.max(bySize, (this.#marks[0] as Mark).offset));
  }

  /** The offset before the first byte in the journal; null: the journal is empty. */
  get start(): Offset | null {
    return this.#start;
  }

  /** Takes note of where the journal begins now. */
  trimmed(start: Offset | null): void {
    this.#start = start;
  }

  /**
   * The bytes of the stream from which the node serves a partial resync. They begin behind what was found damaged, even where the
   * backlog has those bytes: which hash belongs to a place in a damaged row cannot be told.
   * @param backlog what the backlog holds
   */
  window({ firstOffset, length }: Window, now: number): Window {
    const head = (firstOffset + length - 1) as Offset;
    const first = Math.max(this.#first(firstOffset, head, now), Math.min(this.#damagedUpTo() ?? 0, head) + 1);
    return { firstOffset: first, length: length + firstOffset - first };
  }

  /** @returns the first byte that the journal or the backlog has, damaged or not */
  #first(firstOffset: number, head: Offset, now: number): number {
    if (this.#start === null || this.#settings.journalKeepBytes === 0) return firstOffset;
    const from = Math.max(this.#start, this.from(head, now));
    return Math.min(firstOffset, from + 1);
  }

  /** Keeps nothing up to this offset any more. @returns false: so much was given up before */
  giveUp(upTo: Offset): boolean {
    if (upTo <= this.#givenUpTo) return false;
    this.#givenUpTo = upTo;
    return true;
  }

  /** Forgets the marks before the latest one that is at least so old. */
  #forget(before: number): void {
    const kept = this.#marks.findLastIndex(({ at }) => at <= before);
    if (kept > 0) this.#marks = this.#marks.slice(kept);
  }
}
