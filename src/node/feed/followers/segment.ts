/** A segment: writes that follow each other in the stream, decoded together, with a search for their keys. */

import type { Prefixes } from '../../../keyspace/prefixes.ts';
import { type Offset, offset } from '../../../replication/position.ts';
import { StreamDecoder } from '../../../stream/decoder.ts';
import type { StreamHead } from '../../head/stream-head.ts';
import { KeySearch } from '../messages/key-search.ts';
import { forEachGroup, Group } from '../messages/message.ts';
import type { StreamReader } from './stream-reader.ts';

/** Bytes that are read at first of the last write of a segment, beyond the bytes that the segment must have. */
const FIRST_PIECE_BYTES = 1_024;
/** Largest part of that write that is read at a time, in bytes. */
const MAX_PIECE_BYTES = 1024 * 1024;

export class Segment {
  /** The segment holds the writes that end after `from`, up to and including `to`. */
  readonly from: Offset;
  readonly to: Offset;
  readonly groups: readonly Group[];
  readonly #search: KeySearch;
  /** Index of the group of each key in the search. */
  readonly #groupOf: readonly number[];

  constructor(from: Offset, to: Offset, groups: readonly Group[]) {
    this.from = from;
    this.to = to;
    this.groups = groups;
    const keys: (string | null)[] = [];
    const groupOf: number[] = [];
    for (const [index, group] of groups.entries()) {
      for (const key of group.keys) {
        keys.push(key);
        groupOf.push(index);
      }
    }
    this.#search = new KeySearch(keys);
    this.#groupOf = groupOf;
  }

  /** Bytes of the stream in the segment. */
  get bytes(): number {
    return this.to - this.from;
  }

  /** Number of keys that its writes change, repeated if they are. */
  get keys(): number {
    return this.#groupOf.length;
  }

  /** @returns one segment instead of this one and the one that follows it */
  joinedWith(next: Segment): Segment {
    return new Segment(this.from, next.to, [...this.groups, ...next.groups]);
  }

  /** Calls back for each group that changes keys with these prefixes, in order. */
  forEachOf(prefixes: Prefixes, take: (group: Group) => void): void {
    let last = -1;
    for (const key of this.#search.find(prefixes)) {
      const index = this.#groupOf[key] as number;
      if (index === last) continue;
      last = index;
      take(this.groups[index] as Group);
    }
  }
}

/**
 * Reads and decodes the writes after `from`, up to the first end of a write at or after `enough`. So the end depends on the stream alone,
 * not on the pieces in which the store returns it.
 * @param from offset where a write ends
 * @param enough offset after `from`, at most that of the head
 * @throws StorageError when the store cannot read the journal
 */
export function readSegment(head: StreamHead, reader: StreamReader, from: Offset, enough: Offset): Segment {
  const { runId } = head.position;
  const decoder = new StreamDecoder();
  const groups: Group[] = [];
  let [at, end, piece] = [from, from, FIRST_PIECE_BYTES];
  while (end < enough) {
    let wanted = enough - at;
    if (wanted <= 0) {
      wanted = piece;
      piece = Math.min(2 * piece, MAX_PIECE_BYTES);
    }
    const bytes = reader.read(at, wanted);
    if (bytes.length === 0) throw new Error(`no write ends between ${enough} and ${at}`);
    at = offset(at + bytes.length);
    const run = decoder.push(bytes);
    if (run === null) continue;
    const base = end;
    const count = run.boundaries.findIndex((boundary) => base + boundary >= enough) + 1;
    const boundaries = count === 0 ? run.boundaries : run.boundaries.slice(0, count);
    forEachGroup({ ...run, boundaries }, (range) => groups.push(new Group(run, base, runId, range)));
    end = offset(base + (boundaries[boundaries.length - 1] as number));
  }
  return new Segment(from, end, groups);
}
