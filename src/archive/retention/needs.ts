/**
 * Which bases and segments of an archive are needed, so that each moment from a time on can be restored.
 *
 * A restore to a time takes the newest base that is of that time or before, and that has no writes of after it. What a base of a history
 * has, the segments before it tell: the one with its last byte, and those that the target got after the time. So the newest base that
 * is older than that time, and before which the target got no segments later, begins the window of the history: no later time needs what is
 * before it. The clock of a node may have been set back, so a base
 * with a larger offset is not always of a later time.
 *
 * After the begin, a base is needed if segments follow it that do not follow from a needed base before it, as after a gap, and
 * also if it serves times that the needed bases of these segments do not, because they are of later times. All other bases only make
 * restores shorter.
 *
 * A base or a segment is not later than a time if the target, by its own clock, got it by then, and, for a base, if its name says so too:
 * one of the clocks may be wrong.
 */
import type { History } from '../../replication/history.ts';
import type { RunId } from '../../replication/position.ts';
import { type ListedSegment, type Shares, sharedBy, sharesOf } from '../coverage.ts';
import { goesOn, isNeededAfter } from './goes-on.ts';
import { basesOf, type DatedBase, type Holdings, stretchesOf } from './holdings.ts';
import type { LastBytes, LimitOf } from './last-bytes.ts';
import type { Spared } from './stand-ins.ts';

/** Histories that go on and whose newest moment stays restorable however old it is, those with the newest objects. */
const MAX_HELD = 8;
/** Most bases of a history that are old enough by their names, and whose last writes are looked at; with more, no window begins late. */
const MAX_ASKED = 64;

/** What one history needs. */
interface Need extends Spared {
  /** The first base of the window; null: the history has no bases. */
  readonly first: DatedBase | null;
  readonly bases: readonly DatedBase[];
}

export class Needs {
  readonly #needs: readonly Need[];
  /** What may need the bytes of a run ID. */
  readonly #byRunId: ReadonlyMap<RunId, readonly Need[]>;
  readonly #horizon: number;
  /** By name. */
  readonly bases: ReadonlyMap<string, DatedBase>;

  private constructor(needs: readonly Need[], horizon: number) {
    this.#horizon = horizon;
    this.#needs = needs;
    this.#byRunId = groupedBy(needs, ({ history }) => sharesOf(history));
    this.bases = new Map(needs.flatMap(({ bases }) => bases).map((base) => [base.name, base]));
  }

  /**
   * @param horizon the time, in milliseconds since 1970
   * @param own the run ID of the node that asks; null: no node does
   * @param lastBytes the segments with the last bytes of the bases
   * @param turn called between two histories, so that others have their turn
   * @throws TargetError
   */
  static async of(
    histories: readonly History[],
    holdings: Holdings,
    horizon: number,
    own: RunId | null,
    lastBytes: Pick<LastBytes, 'isSure' | 'servesFrom'>,
    turn: () => Promise<void>,
  ): Promise<Needs> {
    const needs: Need[] = [];
    const descendants = groupedBy(histories, ({ lineage }) => lineage);
    for (const history of await restorable({ histories, descendants, holdings, horizon, own }, turn)) {
      const shares = sharedBy(history, descendants.get(history.runId) ?? []);
      const lateFrom = lateFromOf(shares, holdings);
      const limitOf = limitsOf(shares);
      const servesFrom = (base: DatedBase): Promise<number> => lastBytes.servesFrom(base, limitOf);
      const isSure = (base: DatedBase): Promise<boolean> => lastBytes.isSure(base, limitOf);
      needs.push(await needOf(history, holdings, { horizon, lateFrom, servesFrom, isSure }));
      await turn();
    }
    return new Needs(needs, horizon);
  }

  /** The bases at which windows begin, and that therefore let segments be deleted. */
  get firsts(): readonly DatedBase[] {
    return this.#needs.flatMap(({ first }) => first ?? []);
  }

  /** The backups for which earlier ones stand in, if the segments between them are what their names say. */
  get spared(): readonly Spared[] {
    return this.#needs;
  }

  /** Whether no moment from the time on needs the segment. */
  isOver(segment: ListedSegment): boolean {
    if ((segment.modified ?? Number.POSITIVE_INFINITY) > this.#horizon) return false;
    return (this.#byRunId.get(segment.runId) ?? []).every(({ history, first }) => {
      const usableTo = Math.min(segment.end, limitOf(history, segment.runId));
      if (usableTo <= segment.after) return true;
      // The segment with the last byte of the base stays: it tells whether the base has writes of after a time.
      return first !== null && usableTo < first.offset;
    });
  }
}

/** @returns by run ID, the ones of which something has that run ID */
function groupedBy<T>(
  all: readonly T[],
  runIdsOf: (one: T) => readonly { readonly runId: RunId }[],
): ReadonlyMap<RunId, readonly T[]> {
  const groups = new Map<RunId, T[]>();
  for (const one of all) {
    for (const { runId } of runIdsOf(one)) {
      const group = groups.get(runId);
      if (group === undefined) groups.set(runId, [one]);
      else if (group.at(-1) !== one) group.push(one);
    }
  }
  return groups;
}

/** The histories of an archive, and what tells which of them count. */
interface Known {
  readonly histories: readonly History[];
  /** By run ID, the histories that have grown out of it: a look at all of them for each history would take long. */
  readonly descendants: ReadonlyMap<RunId, readonly History[]>;
  readonly holdings: Holdings;
  readonly horizon: number;
  readonly own: RunId | null;
}

/** @returns the histories of which something is to be restored */
async function restorable(
  { histories, descendants, holdings, horizon, own }: Known,
  turn: () => Promise<void>,
): Promise<readonly History[]> {
  const latest = ({ runId }: History): number => holdings.get(runId)?.latest ?? Number.NEGATIVE_INFINITY;
  const going: History[] = [];
  const needed = new Set<History>();
  for (const history of histories) {
    const later = descendants.get(history.runId) ?? [];
    if (goesOn(history, later, holdings)) going.push(history);
    const isLate = latest(history) > horizon || isNeededAfter(horizon, history, later, holdings);
    if (isLate || history.runId === own) needed.add(history);
    await turn();
  }
  going.sort((one, other) => latest(other) - latest(one));
  for (const history of going.slice(0, MAX_HELD)) needed.add(history);
  return histories.filter((history) => needed.has(history));
}

/** What tells how old a base is. */
interface Ages {
  /** Each moment from this one on is to be restorable, in milliseconds since 1970. */
  readonly horizon: number;
  /** The offset before the first byte of what the target got after the horizon. */
  readonly lateFrom: number;
  /** @see LastBytes.servesFrom */
  servesFrom(base: DatedBase): Promise<number>;
  /** @see LastBytes.isSure */
  isSure(base: DatedBase): Promise<boolean>;
}

/** @throws TargetError */
async function needOf(history: History, holdings: Holdings, ages: Ages): Promise<Need> {
  const { horizon } = ages;
  const all = basesOf(history, holdings);
  const from = await beginAmong(all, ages);
  const candidates = all.slice(from);
  const bases: DatedBase[] = [];
  const spared = new Set<string>();
  const stretches = stretchesOf(history, holdings);
  let [reached, index] = [-1, 0];
  /** The earliest time that the needed bases of the present stretch serve. */
  let served = Number.POSITIVE_INFINITY;
  for (const base of candidates) {
    if (base.offset > reached) {
      while (index < stretches.length && (stretches[index]?.end ?? 0) <= base.offset) index += 1;
      const stretch = stretches[index];
      if (stretch === undefined) break;
      if (stretch.after > base.offset) continue;
      [reached, served] = [stretch.end, Number.POSITIVE_INFINITY];
    } else if (served <= Math.max(base.at, horizon)) {
      spared.add(base.name);
      continue;
    }
    bases.push(base);
    if (await ages.isSure(base)) served = Math.min(served, await ages.servesFrom(base));
  }
  return { history, first: candidates[0] ?? null, bases, candidates, spared };
}

/** @returns the index of the base at which the window begins; 0 if none is old enough @throws TargetError */
async function beginAmong(
  all: readonly DatedBase[],
  { horizon, lateFrom, servesFrom, isSure }: Ages,
): Promise<number> {
  let asked = 0;
  for (let index = all.length - 1; index > 0 && asked < MAX_ASKED; index -= 1) {
    const base = all[index] as DatedBase;
    if (Math.max(base.at, base.modified) > horizon || base.offset > lateFrom) continue;
    if ((await servesFrom(base)) <= horizon && (await isSure(base))) return index;
    asked += 1;
  }
  return 0;
}

/**
 * @returns the offset before the first byte of what the target got after the horizon, of all segments that a restore of the history
 *   looks at; infinity: nothing
 */
function lateFromOf(shares: Shares, holdings: Holdings): number {
  return sharesOf(shares).reduce((first, { runId, validTo }) => {
    const lateFrom = holdings.get(runId)?.lateFrom ?? Number.POSITIVE_INFINITY;
    return lateFrom < validTo ? Math.min(first, lateFrom) : first;
  }, Number.POSITIVE_INFINITY);
}

/** @returns the offset up to which bytes of a run ID are those of the history */
function limitOf({ runId, lineage }: History, of: RunId): number {
  if (of === runId) return Number.POSITIVE_INFINITY;
  return lineage.find((ancestor) => ancestor.runId === of)?.validTo ?? Number.NEGATIVE_INFINITY;
}

/** @returns how far the bytes of run IDs are those of a history; negative infinity: nothing of them is */
export function limitsOf(shares: Shares): LimitOf {
  const limits = new Map<RunId, number>();
  for (const { runId, validTo } of sharesOf(shares)) {
    limits.set(runId, Math.max(validTo, limits.get(runId) ?? Number.NEGATIVE_INFINITY));
  }
  return (runId) => limits.get(runId) ?? Number.NEGATIVE_INFINITY;
}
