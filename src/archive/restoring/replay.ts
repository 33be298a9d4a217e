/** Takes a route: the bytes of each segment, checked, and up to where they are wanted. */
import { NoStream } from '../../node/ports/failures.ts';
import { ArchiveError, DamagedObject } from '../archive-error.ts';
import type { Catalogue } from '../catalogue.ts';
import { committedAt } from '../commit-times.ts';
import type { ListedBase, UsableSegment } from '../coverage.ts';
import type { SegmentName } from '../names.ts';
import type { SegmentHeader } from '../segment.ts';
import type { OpenSegment } from '../segment-reader.ts';
import { endsAt, type Goal, MAX_DAMAGED, type Route } from './route.ts';
import { Stops, type Wanted } from './stops.ts';

/** What hashes bytes of the stream that are not wanted. */
export interface Hasher {
  /** The end of the last whole command. */
  readonly offset: number;
  /** The history hash there; null: unknown. */
  readonly hash: bigint | null;
  /** @throws NoStream */
  push(bytes: Buffer): void;
}

/** What takes the bytes: it knows the hash of the history, and where commands end. */
export interface Replayed {
  /** The offset that it has reached. */
  readonly offset: number;
  /** The history hash there; null: unknown. */
  readonly hash: bigint | null;
  /** Takes over the hash that the history has there; a chain of hashes begins. */
  adoptHash(hash: bigint): void;
  /** @returns what hashes the bytes after an offset. @param hash the history hash there; null: unknown */
  hasher(offset: number, hash: bigint | null): Hasher;
  /** Takes the next bytes. It reaches the end of the last whole command in them. @throws NoStream */
  push(bytes: Buffer): Promise<void>;
}

export interface Reached {
  /** About when the last byte was committed, in milliseconds since 1970; null: the base says it. */
  readonly committedAt: number | null;
  /** Whether the archive ends there, so that nobody knows whether writes came after it and before the time that is asked for. */
  readonly isEnd: boolean;
  /** Whether the clock of the node was set back after that, so that later writes have times up to the one that is asked for. */
  readonly hasEarlierTimes: boolean;
  /** Whether the target had the first later write by the time that is asked for, by its own clock, or long before the time of that write. */
  readonly isOfBefore: boolean;
  /** The offset after which the clock of the node was ahead, so that writes with later times were taken; null: none were. */
  readonly aheadFrom: number | null;
  /** The offset after which the clocks of the node and the target were set back, and may have been behind, so that what follows may be of later; null: they were not. */
  readonly behindFrom: number | null;
  /** Names of damaged segments in whose place others were taken. */
  readonly damaged: readonly string[];
  /** The first offset at which no history hash proves that what follows belongs to what is before it; null: hashes prove everything. */
  readonly unprovenFrom: number | null;
}

/** What is reached if no later writes are known. */
export const NOTHING_LATER: Omit<Reached, 'committedAt'> = {
  isEnd: false,
  hasEarlierTimes: false,
  isOfBefore: false,
  aheadFrom: null,
  behindFrom: null,
  damaged: [],
  unprovenFrom: null,
};

/** What is told of the base, and who hears how it goes. */
export interface ReplayOptions {
  /** Whether another object of the archive has the history hash of the base at its offset. */
  readonly isBaseProven?: boolean;
  /** Hears how many bytes of the stream were taken, and about how many there are. */
  readonly report?: (done: number, of: number) => void;
}

/** What hashes have proven. */
class Proof {
  /** The base, while nothing else has its hash; null: it is proven. */
  readonly base: ListedBase | null;
  unprovenFrom: number | null = null;

  constructor(base: ListedBase | null) {
    this.base = base;
  }

  isMissingAt(offset: number): void {
    this.unprovenFrom ??= offset;
  }
}

/**
 * @param into stands at the base of the route
 * @throws ArchiveError, TargetError, or what `into` throws
 */
export async function replay(
  catalogue: Catalogue,
  { base, segments, coverage, history }: Route,
  goal: Goal,
  into: Replayed,
  { isBaseProven = false, report }: ReplayOptions = {},
): Promise<Reached> {
  const proof = new Proof(isBaseProven ? null : base);
  const stops = goal.kind === 'time' ? new Stops(catalogue, goal, base) : null;
  let committed: number | null = null;
  const end = segments.at(-1)?.usableTo ?? base.offset;
  const damaged = new Set<string>();
  let damage: DamagedObject | null = null;
  let rest = segments;
  for (let index = 0; index < rest.length; ) {
    const each = rest[index] as UsableSegment;
    report?.(into.offset - base.offset, end - base.offset);
    const took = await tookFrom(catalogue, each, goal, stops, into, proof);
    if (took instanceof DamagedObject) {
      damage ??= took;
      damaged.add(each.segment.name);
      if (damaged.size > MAX_DAMAGED) throw damage;
      [rest, index] = [[...coverage.chain(into.offset, damaged)], 0];
      continue;
    }
    const { wanted } = took;
    if (took.isOpen) {
      await stops?.look(wanted, rest.slice(index));
      continue;
    }
    committed = took.ms ?? committed;
    stops?.took(wanted);
    index += 1;
    if (!wanted.isOver) continue;
    const doubts = await stops?.doubts(wanted, into.offset, rest.slice(index - 1));
    return { ...NOTHING_LATER, ...doubts, committedAt: committed, ...told(proof, damaged, stops) };
  }
  // Nothing whole has the bytes of a damaged segment.
  if (damage !== null && into.offset < end) throw damage;
  const isEnd = goal.kind === 'time';
  // Writes before a gap were passed, although their times are later.
  if (isEnd && coverage.hasAfter(into.offset))
    throw endsAt(coverage, { runId: history.runId, offset: into.offset });
  return { ...NOTHING_LATER, isEnd, committedAt: committed, ...told(proof, damaged, stops) };
}

function told(
  { unprovenFrom }: Proof,
  damaged: ReadonlySet<string>,
  stops: Stops | null,
): Pick<Reached, 'aheadFrom' | 'behindFrom' | 'damaged' | 'unprovenFrom'> {
  const [aheadFrom, behindFrom] = [stops?.passedFrom ?? null, stops?.behindFrom ?? null];
  return { aheadFrom, behindFrom, damaged: [...damaged], unprovenFrom };
}

/** What was taken of a segment. */
interface Took {
  readonly wanted: Wanted;
  /** Whether nothing was taken, because it is to be looked whether more is wanted. */
  readonly isOpen: boolean;
  /** About when the last byte was committed that was taken, in milliseconds since 1970; null: unknown, or nothing was taken. */
  readonly ms: number | null;
}

/** @returns what was taken; or that the segment is damaged: then `into` got nothing of it */
async function tookFrom(
  catalogue: Catalogue,
  each: UsableSegment,
  goal: Goal,
  stops: Stops | null,
  into: Replayed,
  proof: Proof,
): Promise<Took | DamagedObject> {
  try {
    return await catalogue.use(each.segment, async (open) => {
      const { header } = open;
      const begin = into.offset;
      const wanted = stops?.wantedOf(each, header, begin) ?? upTo(each, goal);
      if (stops?.isOpen(wanted) === true) return { wanted, isOpen: true, ms: null };
      await taken(each, open, wanted.upTo, into, proof).catch((error: unknown) => {
        throw error instanceof NoStream ? new ArchiveError(`${each.segment.name}: ${error.message}`) : error;
      });
      const ms = into.offset > begin ? committedAt(header.marks, into.offset) : null;
      return { wanted, isOpen: false, ms };
    });
  } catch (error) {
    if (error instanceof DamagedObject) return error;
    throw error;
  }
}

/** How much of a segment a position wants. */
function upTo({ usableTo }: UsableSegment, goal: Goal): Wanted {
  const offset = goal.kind === 'position' ? goal.position.offset : usableTo;
  return {
    upTo: Math.min(offset, usableTo),
    isOver: offset <= usableTo,
    doubtful: null,
    latest: 0,
    behindFrom: null,
  };
}

/**
 * Gives the bytes after the present offset to `into`. All bytes of the segment are read, because they are checked at their end. Those that
 * are not wanted are hashed: so the segment shows that it is of the history, where it begins before the present offset too, and where it
 * goes on after what is wanted.
 */
async function taken(
  { segment, usableTo }: UsableSegment,
  { bytes, header }: OpenSegment,
  wantedTo: number,
  into: Replayed,
  proof: Proof,
): Promise<void> {
  const begin = into.offset;
  if (header.after === begin) checkBegin(segment, header, into, proof);
  const upTo = Math.min(wantedTo, usableTo);
  const isCut = upTo < header.end;
  const hasher = into.hasher(header.after, header.after === begin ? into.hash : header.hashBefore);
  let at: number = header.after;
  for await (const part of bytes()) {
    const before = part.subarray(0, Math.max(0, begin - at));
    const after = part.subarray(before.length);
    if (before.length > 0) {
      hasher.push(before);
      if (at + before.length === begin) checkJoin(segment, hasher, into, proof);
    }
    if (isCut && after.length > 0) hasher.push(after);
    const wanted = after.subarray(0, Math.max(0, upTo - at - before.length));
    if (wanted.length > 0) await into.push(wanted);
    at += part.length;
  }
  if (wantedTo >= usableTo && into.offset !== usableTo) throw insideCommand(segment, usableTo);
  checkEnd(segment, header, isCut ? hasher : into);
}

/** Compares the history hash at the begin of a segment with that of the bytes before it. */
function checkBegin(
  segment: SegmentName,
  { beginsChain, hashBefore, hashAfter }: SegmentHeader,
  into: Replayed,
  proof: Proof,
): void {
  const { hash, offset } = into;
  if (hashBefore === null) {
    // The hash at its end follows from the one before it, if both are known.
    if (hash === null || hashAfter === null) proof.isMissingAt(offset);
    return;
  }
  if (hashBefore === hash) return;
  if (hash !== null) {
    if (!beginsChain) throw ofAnotherHistory(segment, into);
    if (proof.base?.offset === offset) {
      throw new ArchiveError(
        `${proof.base.name} may be of another history: it has a hash at byte ${offset} that no segment has, and ${segment.name} begins a new chain of hashes there`,
      );
    }
  }
  proof.isMissingAt(offset);
  into.adoptHash(hashBefore);
}

/** Compares the history hash at the present offset with that of the segment there, which begins before it. */
function checkJoin(segment: SegmentName, { hash, offset }: Hasher, into: Replayed, proof: Proof): void {
  if (offset !== into.offset) throw ofAnotherHistory(segment, into);
  if (hash === null || into.hash === null) proof.isMissingAt(offset);
  if (hash === into.hash) return;
  if (hash === null) {
    throw new ArchiveError(
      `${segment.name} may be of another history: it begins before byte ${offset}, and does not say its hash there`,
    );
  }
  if (into.hash === null) into.adoptHash(hash);
  else throw ofAnotherHistory(segment, into);
}

function checkEnd(segment: SegmentName, { end, hashAfter }: SegmentHeader, reached: Hasher | Replayed): void {
  if (reached.offset !== end) throw insideCommand(segment, end);
  if (hashAfter !== null && reached.hash !== null && hashAfter !== reached.hash)
    throw ofAnotherHistory(segment, reached);
}

function insideCommand({ name }: SegmentName, offset: number): ArchiveError {
  return new ArchiveError(`${name}: byte ${offset} is inside a command`);
}

function ofAnotherHistory({ name }: SegmentName, { offset }: Pick<Replayed, 'offset'>): ArchiveError {
  return new ArchiveError(
    `${name} is of another history: its hash at byte ${offset} is not that of the bytes before it`,
  );
}
