/**
 * When histories began, as far as that is known. A lineage says it, by the wall clock of the node that took the run ID. That clock may have been
 * ahead, as at the boot of a machine after a power cut, and was set right then: the node has written by times of before its own begin. Then
 * the lineage says nothing of when it began, and only what the archive has of it does.
 */
import type { Ancestor, History } from '../../replication/history.ts';
import type { RunId } from '../../replication/position.ts';
import { ArchiveError } from '../archive-error.ts';
import type { Catalogue, Run } from '../catalogue.ts';
import { MAX_SKEW_MS, type Mark } from '../commit-times.ts';
import { isOfCopy, type ListedSegment } from '../coverage.ts';
import { earliestBeyond, isBeginProven, writtenBefore } from './begin-proof.ts';

/** When a history has grown out of an ancestor, in milliseconds since 1970. */
export interface Begin {
  /** The earliest moment at which that may have been; negative infinity: any, as the ancestor has no bytes that the history does not have. */
  readonly from: number;
  /** A moment by which it had been. */
  readonly by: number;
}

/** Number of segments of which each one is looked at; behind them, one in a part of this size of all before it. */
const NEAR = 8;

/** What is asked of an archive. */
type Archive = Pick<Catalogue, 'runs' | 'glance' | 'header' | 'lastWrite'>;

/** When histories have grown out of their ancestors. */
export class Begins {
  readonly #corrected: ReadonlyMap<string, Begin>;

  private constructor(corrected: ReadonlyMap<string, Begin>) {
    this.#corrected = corrected;
  }

  /** @param told the histories of all run IDs that have objects @throws TargetError */
  static async of(archive: Archive, told: readonly History[]): Promise<Begins> {
    const signs = new Map<string, { readonly entry: Ancestor; by: number }>();
    const whole = wholeEntries(told);
    const isTold = new Set(told.map(({ runId }) => runId));
    for (const { runId, lineage } of told) {
      let sign = await firstSign(archive, runId, lineage[0]);
      // What shows that a history was there shows it of all that it has grown out of.
      for (const [index, each] of lineage.entries()) {
        if (!saysBegin(each, index)) continue;
        const entry = whole.get(keyOf(each)) ?? each;
        const before = lineage[index - 1]?.runId;
        if (before !== undefined && !isTold.has(before)) {
          sign = Math.min(sign, await firstSign(archive, before, entry));
        }
        if (sign >= entry.at) continue;
        const found = signs.get(keyOf(entry)) ?? { entry, by: sign };
        signs.set(keyOf(entry), found);
        found.by = Math.min(found.by, sign);
      }
    }
    const corrected = new Map<string, Begin>();
    for (const [key, { entry, by }] of signs) {
      corrected.set(key, { from: await earliest(archive, told, entry, by), by });
    }
    return new Begins(corrected);
  }

  /** @param entry of a lineage @returns when the history with that lineage, or one before it, has grown out of it */
  after(entry: Ancestor): Begin {
    return this.#corrected.get(keyOf(entry)) ?? { from: entry.at, by: entry.at };
  }

  /** Whether something written after it shows that the clock that gave the time of the entry was ahead. */
  isWrong(entry: Ancestor): boolean {
    return this.#corrected.has(keyOf(entry));
  }
}

/** All lineages have the same entry for one begin. */
function keyOf({ runId, at }: Ancestor): string {
  return `${runId}:${at}`;
}

/**
 * @returns by key, the entry of each begin that shares most: one that has forked behind the begin says less of what that shares, and a list of a target
 *   may be in any order
 */
function wholeEntries(told: readonly History[]): ReadonlyMap<string, Ancestor> {
  const whole = new Map<string, Ancestor>();
  for (const entry of told.flatMap(({ lineage }) => lineage)) {
    const found = whole.get(keyOf(entry));
    if (found === undefined || found.validTo < entry.validTo) whole.set(keyOf(entry), entry);
  }
  return whole;
}

/** Whether the run ID before an entry began then. Behind those, a node that follows another one adds what it has grown out of itself. */
function saysBegin({ reason }: Ancestor, index: number): boolean {
  return index === 0 || reason !== 'master-changed';
}

/**
 * @param began how the lineage of the run ID begins
 * @returns the first moment, in milliseconds since 1970, at which the run ID is known to have written bytes that its ancestors do not have:
 *   a few of its segments tell, and the names of its backups; infinity: none does
 */
async function firstSign(archive: Archive, runId: RunId, began: Ancestor | undefined): Promise<number> {
  const run = archive.runs.get(runId);
  if (run === undefined || began === undefined) return Number.POSITIVE_INFINITY;
  const sign = await firstWritten(archive, run, began);
  if (sign >= began.at) return sign;
  // A clock that is behind gives such times too.
  if (await isBeginProven(archive, run, began)) return Number.POSITIVE_INFINITY;
  return await firstWritten(archive, run, began, await writtenBefore(archive, run, began));
}

/** @param least earlier times do not count, in milliseconds since 1970 */
async function firstWritten(archive: Archive, run: Run, began: Ancestor, least?: number): Promise<number> {
  const { validTo } = began;
  const made = run.bases.map(({ at, offset }): Mark => [offset, at]);
  let sign = earliestBeyond(made, validTo, least) ?? Number.POSITIVE_INFINITY;
  for (const segment of await askedBeyond(archive, run, began, least)) {
    const told = await writtenBeyond(segment, validTo, (each) => archive.glance(each), least);
    // What was not compared with its SHA-256 may be damaged.
    const isSign = told !== null && told < began.at;
    const sure = isSign ? await writtenBeyond(segment, validTo, (each) => archive.header(each), least) : told;
    sign = Math.min(sign, sure ?? Number.POSITIVE_INFINITY);
  }
  return sign;
}

/**
 * @returns the first segment that has bytes beyond what is shared, and the first one of those that were written by times of before the begin,
 *   as after the clock was set right
 */
async function askedBeyond(
  archive: Archive,
  { segments }: Run,
  { validTo, at }: Ancestor,
  least?: number,
): Promise<readonly ListedSegment[]> {
  const first = firstBeyond(segments, validTo);
  if (first === null) return [];
  const isSign = async (index: number): Promise<boolean> => {
    const told = await writtenBeyond(segments.at(index), validTo, (each) => archive.glance(each), least);
    return told !== null && told < at;
  };
  if (await isSign(first.index)) return [first.segment];
  let [low, high] = [first.index, first.index];
  const got = lastGotBefore(segments, at);
  const told = await writtenBeyond(first.segment, validTo, (each) => archive.glance(each));
  const { modified = Number.POSITIVE_INFINITY } = first.segment;
  const isCopied = modified - (told ?? Number.NEGATIVE_INFINITY) > MAX_SKEW_MS;
  const others = isCopied ? probes(first.index, segments.length) : [segments.length - 1];
  // The target gets a segment after its last write, and its first one is wanted.
  for (const index of [got, got + 1, ...others]) {
    if (index <= first.index || index >= segments.length || !(await isSign(index))) continue;
    high = index;
    break;
  }
  if (high === low) return [first.segment];
  while (high - low > 1) {
    const between = (low + high) >>> 1;
    if (await isSign(between)) high = between;
    else low = between;
  }
  return [first.segment, segments.at(high)];
}

/** @returns the index of the last segment that the target got before a time; -1: none is known */
function lastGotBefore(segments: Run['segments'], time: number): number {
  let [index, found] = [0, -1];
  for (const { modified = Number.POSITIVE_INFINITY } of segments) {
    if (modified < time) found = index;
    index += 1;
  }
  return found;
}

/**
 * @returns where it is looked whether a clock was set right, if the target does not tell when it got segments, as after it was copied: at each of
 *   the next ones, then farther and farther apart
 */
function* probes(first: number, length: number): Generator<number> {
  for (let step = 1; first + step < length; step += Math.max(1, Math.floor(step / NEAR))) yield first + step;
  yield length - 1;
}

function firstBeyond(
  segments: Run['segments'],
  offset: number,
): { readonly index: number; readonly segment: ListedSegment } | null {
  let index = 0;
  for (const segment of segments) {
    if (segment.end > offset) return { index, segment };
    index += 1;
  }
  return null;
}

/** @returns the earliest time of the bytes of a segment beyond an offset, in milliseconds since 1970; null: unknown @see earliestBeyond */
async function writtenBeyond(
  segment: ListedSegment,
  offset: number,
  headerOf: Archive['glance'],
  least?: number,
): Promise<number | null> {
  try {
    return earliestBeyond((await headerOf(segment)).marks, offset, least);
  } catch (error) {
    if (error instanceof ArchiveError) return null;
    throw error;
  }
}

/**
 * @param by a moment by which a history had grown out of the ancestor, in milliseconds since 1970
 * @returns the earliest moment at which it may have: after the ancestor had written what the history does not have. If the ancestor wrote that
 *   later than `by`, both were there, and the moment is that of the first such write.
 */
async function earliest(
  archive: Archive,
  told: readonly History[],
  entry: Ancestor,
  by: number,
): Promise<number> {
  const others = told.flatMap(({ lineage }) =>
    lineage.filter(({ runId, validTo }) => runId === entry.runId && validTo > entry.validTo),
  );
  // Another history has what the ancestor wrote beyond that.
  const known = others.filter((other) => !isOfCopy(other)).map(({ at }) => at);
  const last = Math.max(await archive.lastWrite(entry, Number.NEGATIVE_INFINITY), ...known);
  if (last < by) return last === Number.NEGATIVE_INFINITY ? last : last + 1;
  const run = archive.runs.get(entry.runId);
  const first = run === undefined ? null : firstBeyond(run.segments, entry.validTo);
  if (first === null) return by;
  const time = await writtenBeyond(first.segment, entry.validTo, (each) => archive.header(each));
  return Math.min(by, time ?? by);
}
