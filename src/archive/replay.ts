/** Takes a route: the bytes of each segment, checked, and up to where they are wanted. */
import { ArchiveError } from './archive-error.ts';
import type { Catalogue } from './catalogue.ts';
import { committedAt, reachedAt } from './commit-times.ts';
import type { UsableSegment } from './coverage.ts';
import type { SegmentName } from './names.ts';
import type { Goal, Route } from './route.ts';
import type { SegmentHeader } from './segment.ts';

/** What takes the bytes: it knows the hash of the history, and where commands end. */
export interface Replayed {
  /** The offset that it has reached. */
  readonly offset: number;
  /** The history hash there; null: unknown. */
  readonly hash: bigint | null;
  /** Takes over the hash that the history has there; a chain of hashes begins. */
  adoptHash(hash: bigint): void;
  /** Takes the next bytes. It reaches the end of the last whole command in them. */
  push(bytes: Buffer): Promise<void>;
}

export interface Reached {
  /** About when the last byte was committed, in milliseconds since 1970; null: the base says it. */
  readonly committedAt: number | null;
  /** Whether the archive ends there, so that nobody knows whether writes came after it and before the time that is asked for. */
  readonly isEnd: boolean;
}

/**
 * @param into stands at the base of the route
 * @param report hears how many bytes of the stream were taken, and about how many there are
 * @throws ArchiveError, TargetError, or what `into` throws
 */
export async function replay(
  catalogue: Catalogue,
  { base, segments }: Route,
  goal: Goal,
  into: Replayed,
  report: (done: number, of: number) => void = () => undefined,
): Promise<Reached> {
  let committed: number | null = null;
  const end = segments.at(-1)?.usableTo ?? base.offset;
  for (const each of segments) {
    report(into.offset - base.offset, end - base.offset);
    const { isOver, ms } = await catalogue.use(each.segment, async ({ header, bytes }) => {
      const wanted = wantedOf(header, each.usableTo, goal);
      await taken(each, header, bytes(), Math.max(wanted.upTo, into.offset), into);
      return { isOver: wanted.isOver, ms: committedAt(header.marks, into.offset) };
    });
    committed = ms ?? committed;
    if (isOver) return { committedAt: committed, isEnd: false };
  }
  return { committedAt: committed, isEnd: goal.kind === 'time' };
}

/**
 * How much of a segment is wanted, and whether nothing after it is. What the segment has beyond `usableTo` is of another history, and
 * says nothing.
 */
function wantedOf(
  { after, marks }: SegmentHeader,
  usableTo: number,
  goal: Goal,
): { readonly upTo: number; readonly isOver: boolean } {
  if (goal.kind === 'position') {
    const { offset } = goal.position;
    return { upTo: Math.min(offset, usableTo), isOver: offset <= usableTo };
  }
  const { offset, isOver } = reachedAt(marks, after, goal.at);
  return isOver && offset < usableTo ? { upTo: offset, isOver } : { upTo: usableTo, isOver: false };
}

/** Gives the bytes after the present offset to `into`. All bytes of the segment are read, because they are checked at their end. */
async function taken(
  { segment, usableTo }: UsableSegment,
  header: SegmentHeader,
  bytes: AsyncIterable<Buffer>,
  wantedTo: number,
  into: Replayed,
): Promise<void> {
  if (header.after === into.offset) checkBegin(segment, header, into);
  const upTo = Math.min(wantedTo, usableTo);
  let at: number = header.after;
  let next = into.offset;
  for await (const part of bytes) {
    const from = Math.max(0, next - at);
    const to = Math.min(part.length, upTo - at);
    if (to > from) {
      await into.push(part.subarray(from, to));
      next = at + to;
    }
    at += part.length;
  }
  if (wantedTo < usableTo) return;
  if (into.offset !== usableTo)
    throw new ArchiveError(`${segment.name}: byte ${usableTo} is inside a command`);
  if (usableTo === header.end) checkEnd(segment, header, into);
}

/** Compares the history hash at the begin of a segment with that of the bytes before it. */
function checkBegin(segment: SegmentName, { beginsChain, hashBefore }: SegmentHeader, into: Replayed): void {
  if (hashBefore === null || hashBefore === into.hash) return;
  if (into.hash === null || beginsChain) into.adoptHash(hashBefore);
  else throw ofAnotherHistory(segment, into);
}

function checkEnd(segment: SegmentName, { hashAfter }: SegmentHeader, into: Replayed): void {
  if (hashAfter !== null && into.hash !== null && hashAfter !== into.hash)
    throw ofAnotherHistory(segment, into);
}

function ofAnotherHistory({ name }: SegmentName, { offset }: Replayed): ArchiveError {
  return new ArchiveError(
    `${name} is of another history: its hash at byte ${offset} is not that of the bytes before it`,
  );
}
