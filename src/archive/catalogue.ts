/** All objects of one cluster in a target, and what the segments among them say of their histories. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { getHeapStatistics } from 'node:v8';
import type { BackupTarget } from '../node/ports/backup-target.ts';
import type { History } from '../replication/history.ts';
import type { RunId } from '../replication/position.ts';
import { ArchiveError, DamagedObject } from './archive-error.ts';
import {
  Coverage,
  type ListedBase,
  type ListedSegment,
  type Share,
  type Shares,
  sharesOf,
} from './coverage.ts';
import {
  candidatesOf,
  firstTold,
  type HistoryOfBase,
  historyTold,
  inOrderOfAsking,
  isNamed,
  MAX_ASKED,
  type Untold,
} from './first-told.ts';
import { guardedCluster, parseArchived } from './names.ts';
import { headerIn } from './retention/header-in.ts';
import { SegmentError, type SegmentHeader } from './segment.ts';
import { SegmentList } from './segment-list.ts';
import { type OpenSegment, openSegment } from './segment-reader.ts';

/** What the archive has of one run ID. */
export interface Run {
  readonly runId: RunId;
  readonly segments: SegmentList;
  /** Sorted by their offsets. */
  readonly bases: readonly ListedBase[];
}

/** The oldest and the newest moment of which the archive has something of a run ID, in milliseconds since 1970. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Most objects of a target that are read: a year of segments every ten seconds. */
export const MAX_OBJECTS = 3_200_000;
/** Memory that a restore needs for each object of its archive, in bytes: about 124, and the arrays in which they are sorted. */
const OBJECT_BYTES = 200;
/** Part of the memory of the process that objects may take. */
const MEMORY_SHARE = 0.75;
/** Memory that a process needs for the most objects, in MiB. */
const ENOUGH_MIB = Math.ceil((MAX_OBJECTS * OBJECT_BYTES) / MEMORY_SHARE / 1024 / 1024);
/** Time that the name of a base leaves open, in milliseconds. */
const NAME_MS = 1_000;
/** Most headers in memory. */
const MAX_HEADERS = 64;

/** Bounds of what is read of a list. */
export interface CatalogueBounds {
  /** Most objects that the target may list. */
  readonly objects: number;
  /** Most objects of the archive, which stay in memory. */
  readonly kept: number;
}

export class Catalogue {
  readonly #target: BackupTarget;
  /** Folder for segments that are read. */
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #historyOfBase: HistoryOfBase;
  readonly runs: ReadonlyMap<RunId, Run>;
  /** Whether a node of the archive needs tokens, or has once needed some. */
  readonly isGuarded: boolean;
  /** Whether segments are asked without their bytes. */
  readonly #isQuick: boolean;
  readonly #headers = new Map<string, SegmentHeader>();
  /** Names of bases that are damaged. */
  readonly #passedOver = new Set<string>();

  private constructor(
    target: BackupTarget,
    folder: string,
    signal: AbortSignal,
    historyOfBase: HistoryOfBase,
    runs: ReadonlyMap<RunId, Run>,
    isGuarded: boolean,
    isQuick: boolean,
  ) {
    this.#target = target;
    this.#folder = folder;
    this.#signal = signal;
    this.#historyOfBase = historyOfBase;
    this.runs = runs;
    this.isGuarded = isGuarded;
    this.#isQuick = isQuick;
  }

  /**
   * @param cluster the name in front of the run IDs; null: there is only one in the target
   * @param folder for files while they are read; null: what segments say of themselves is not compared with their SHA-256, and none is read
   * @throws ArchiveError if there are several archives, or more objects; TargetError
   */
  static async read(
    target: BackupTarget,
    cluster: string | null,
    folder: string | null,
    signal: AbortSignal,
    historyOfBase: HistoryOfBase,
    most: CatalogueBounds = boundsOf(getHeapStatistics().heap_size_limit),
  ): Promise<Catalogue> {
    const runs = new Map<RunId, Run & { readonly bases: ListedBase[] }>();
    const clusters = new Set<string | null>();
    const guarded = new Set<string | null>();
    let [objects, kept] = [0, 0];
    for await (const { modified, name, size } of target.list(cluster ?? '', { signal })) {
      objects += 1;
      if (objects > most.objects) throw tooMany(target, cluster, `${most.objects} objects`);
      const guards = guardedCluster(name);
      if (guards !== undefined) guarded.add(guards);
      const found = parseArchived(name);
      if (found === null || (cluster !== null && found.cluster !== cluster)) continue;
      kept += 1;
      if (kept > most.kept) {
        const what = `${most.kept} objects, and psyncd has no memory for more (NODE_OPTIONS=--max-old-space-size=${ENOUGH_MIB} gives it enough)`;
        throw tooMany(target, cluster, what);
      }
      clusters.add(found.cluster);
      const { runId } = found;
      const run = runs.get(runId) ?? { runId, segments: new SegmentList(runId, found.cluster), bases: [] };
      runs.set(runId, run);
      if (found.kind === 'segment') run.segments.add(found, modified, size);
      else run.bases.push({ ...found, modified, size });
    }
    if (clusters.size > 1) {
      throw new ArchiveError(
        `${target.shown} has archives of ${[...clusters].sort().join(', ')}; name one with --cluster`,
      );
    }
    for (const { bases } of runs.values()) bases.sort((a, b) => a.offset - b.offset || a.at - b.at);
    const isGuarded = [...clusters].some((each) => guarded.has(each));
    return new Catalogue(target, folder ?? '', signal, historyOfBase, runs, isGuarded, folder === null);
  }

  /** @returns what the archive has of a history */
  coverage(history: Shares): Coverage {
    const shared = new Set(sharesOf(history).map(({ runId }) => runId));
    const runs = [...this.runs.values()].filter(({ runId }) => shared.has(runId));
    const segments = function* (): Generator<ListedSegment> {
      for (const run of runs) yield* run.segments;
    };
    return new Coverage(
      history,
      segments(),
      runs.flatMap(({ bases }) => bases),
      this.#passedOver,
    );
  }

  /** Begins at no such base any more, because it is damaged. */
  passOver({ name }: ListedBase): void {
    this.#passedOver.add(name);
  }

  /** @returns the history of a run ID @throws ArchiveError if all objects that are asked are damaged; TargetError */
  async history({ segments, bases }: Run): Promise<History> {
    return historyTold(candidatesOf(segments), bases, {
      ofSegment: (segment) => this.header(segment),
      ofBase: this.#historyOfBase,
    });
  }

  /**
   * @returns the span of a run ID; null: the archive does not say. Where too many segments are damaged, it is longer than it was: from before all
   *   times, or to when the target got the last one.
   */
  async span({ segments, bases }: Run): Promise<Span | null> {
    const times = bases.map(trueTimeOf);
    if (segments.length > 0) {
      times.push(...((await this.#timesOf(segments.slice(0, MAX_ASKED))) ?? [Number.NEGATIVE_INFINITY]));
      const last = segments.slice(-MAX_ASKED).reverse();
      times.push(...((await this.#timesOf(last)) ?? [gotAt(segments)]));
    }
    return times.length === 0 ? null : { from: -mostOf(times.map((time) => -time)), to: mostOf(times) };
  }

  /** @returns the times that the first one says that is not damaged; null: all are */
  async #timesOf(segments: readonly ListedSegment[]): Promise<readonly number[] | null> {
    try {
      const { told, by } = await firstTold(segments, (segment) => this.header(segment));
      return told.marks.map(([, ms]) => Math.min(ms, by.modified ?? Number.POSITIVE_INFINITY));
    } catch (error) {
      if (error instanceof ArchiveError) return null;
      throw error;
    }
  }

  /**
   * @returns the histories of the run IDs that have objects, without those that have no segments and that another one names; and the run IDs
   *   of which no history can be read
   * @throws TargetError
   */
  async histories(): Promise<{ readonly told: readonly History[]; readonly untold: readonly Untold[] }> {
    const told: History[] = [];
    const untold: Untold[] = [];
    const runs = inOrderOfAsking(this.runs.values(), ({ segments, bases }) => ({
      hasSegments: segments.length > 0,
      bases,
    }));
    for (const run of runs) {
      if (run.segments.length === 0 && isNamed(run, told)) continue;
      try {
        told.push(await this.history(run));
      } catch (error) {
        if (!(error instanceof ArchiveError)) throw error;
        untold.push({ runId: run.runId, why: error.message, ...signsOf(run) });
      }
    }
    return { told, untold };
  }

  /**
   * @param share a run ID, and the offset beyond which its bytes count
   * @param since a moment in milliseconds since 1970; what the target got before does not count
   * @returns when bytes beyond the offset were written at last, as far as that is known, in milliseconds since 1970; negative infinity:
   *   there are none. If no segment that can be read tells, it is when the target got the last one.
   */
  async lastWrite({ runId, validTo }: Share, since: number): Promise<number> {
    const run = this.runs.get(runId);
    if (run === undefined) return Number.NEGATIVE_INFINITY;
    const times = run.bases.filter(({ offset }) => offset > validTo).map(trueTimeOf);
    let got = Number.NEGATIVE_INFINITY;
    const last: ListedSegment[] = [];
    for (const segment of run.segments) {
      const { end, modified = Number.POSITIVE_INFINITY } = segment;
      if (end <= validTo || modified <= since) continue;
      got = Math.max(got, modified);
      last.push(segment);
      if (last.length > MAX_ASKED) last.shift();
    }
    const told = await this.#timesOf(last.reverse());
    return mostOf([...times, Math.min(told?.at(-1) ?? got, got)]);
  }

  /** @returns what a segment says of itself, which is checked once, or not at all in a quick catalogue @throws ArchiveError if it is damaged; TargetError */
  async header(segment: ListedSegment): Promise<SegmentHeader> {
    const known = this.#headers.get(segment.name);
    if (known !== undefined) return known;
    const header = this.#isQuick
      ? await this.glance(segment)
      : await this.use(segment, async (open) => open.header);
    if (this.#headers.size >= MAX_HEADERS) this.#headers.clear();
    this.#headers.set(segment.name, header);
    return header;
  }

  /** @returns what a segment says of itself, which is not compared with its SHA-256 @throws ArchiveError if it does not begin as one; TargetError */
  async glance(segment: ListedSegment): Promise<SegmentHeader> {
    try {
      const known = this.#headers.get(segment.name);
      return known ?? (await headerIn(this.#target, segment, { signal: this.#signal }));
    } catch (error) {
      throw error instanceof SegmentError ? new DamagedObject(this.#damage(segment, error)) : error;
    }
  }

  #damage({ name }: ListedSegment, { message }: SegmentError): string {
    return `${this.#target.shown}: ${name} is damaged: ${message}`;
  }

  /**
   * Gets a segment, checks it, and gives it to `use`.
   * @throws DamagedObject if it is not what its name says, or is not what was written; TargetError; what `use` throws, a SegmentError as an
   *   ArchiveError
   */
  async use<T>(segment: ListedSegment, use: (open: OpenSegment) => Promise<T>): Promise<T> {
    const path = join(this.#folder, 'segment');
    try {
      const open = await this.#opened(segment, path).catch((error: unknown) => {
        throw error instanceof SegmentError ? new DamagedObject(this.#damage(segment, error)) : error;
      });
      return await use(open);
    } catch (error) {
      throw error instanceof SegmentError ? new ArchiveError(this.#damage(segment, error)) : error;
    } finally {
      await rm(path, { force: true });
    }
  }

  /** @throws SegmentError, TargetError */
  async #opened(segment: ListedSegment, path: string): Promise<OpenSegment> {
    const most = segment.size;
    await this.#target.get(segment.name, path, { signal: this.#signal, ...(most !== undefined && { most }) });
    const open = await openSegment(path);
    const { runId, after, end } = open.header;
    if (runId === segment.runId && after === segment.after && end === segment.end) return open;
    throw new SegmentError(`it is the segment ${after + 1}-${end} of ${runId}, under another name`);
  }
}

/** @param heapBytes most memory of the process for objects */
export function boundsOf(heapBytes: number): CatalogueBounds {
  return { objects: MAX_OBJECTS, kept: Math.floor((heapBytes * MEMORY_SHARE) / OBJECT_BYTES) };
}

function tooMany({ shown }: BackupTarget, cluster: string | null, what: string): ArchiveError {
  const advice = cluster === null ? 'name the archive with --cluster, or ' : '';
  return new ArchiveError(
    `${shown} has more than ${what}: ${advice}delete old ones with psyncd backup prune ${shown} --keep RULES`,
  );
}

/** @returns the earliest moment at which a base may have been made, also if the clock of its node was ahead */
function trueTimeOf({ at, modified }: ListedBase): number {
  return Math.min(at - NAME_MS + 1, modified ?? Number.POSITIVE_INFINITY);
}

/** @returns the largest of the values; negative infinity: there is none */
function mostOf(values: Iterable<number>): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > most) most = value;
  return most;
}

/** @returns when the target got the last of some segments, in milliseconds since 1970; infinity: unknown */
function gotAt(segments: Iterable<ListedSegment>): number {
  let got = Number.NEGATIVE_INFINITY;
  for (const { modified } of segments) got = Math.max(got, modified ?? Number.POSITIVE_INFINITY);
  return got;
}

/** @returns from when to when the list of the target shows something of a run ID, in milliseconds since 1970 */
function signsOf({ segments, bases }: Run): Pick<Untold, 'since' | 'until'> {
  let since = -mostOf(bases.map((base) => -trueTimeOf(base)));
  for (const { modified } of segments) since = Math.min(since, modified ?? Number.NEGATIVE_INFINITY);
  return { since, until: mostOf([gotAt(segments), ...bases.map(({ at, modified }) => modified ?? at)]) };
}
