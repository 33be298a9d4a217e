/**
 * Which bases and segments of an archive are needed, so that each moment from a time on can be restored. Pure.
 *
 * For each history, the newest base that is not later than that time begins the window. Before it nothing is needed. After it, a base is
 * needed if segments follow it that do not follow from a needed base before it, as after a gap. All other bases only make restores shorter.
 *
 * A base or a segment is not later than a time if the target, by its own clock, got it by then, and, for a base, if its name says so too:
 * one of the clocks may be wrong.
 */
import type { History } from '../../replication/history.ts';
import type { RunId } from '../../replication/position.ts';
import type { ListedSegment } from '../coverage.ts';
import { goesOn } from './goes-on.ts';
import { basesOf, type DatedBase, type Holdings, stretchesOf } from './holdings.ts';

/** Histories that go on and whose newest moment stays restorable however old it is, those with the newest objects. */
const MAX_HELD = 8;

/** What one history needs. */
interface Need {
  readonly history: History;
  /** The first base of the window; null: the history has no bases. */
  readonly first: DatedBase | null;
  readonly bases: readonly DatedBase[];
}

export class Needs {
  readonly #needs: readonly Need[];
  readonly #horizon: number;
  /** By name. */
  readonly bases: ReadonlyMap<string, DatedBase>;

  private constructor(needs: readonly Need[], horizon: number) {
    this.#horizon = horizon;
    this.#needs = needs;
    this.bases = new Map(needs.flatMap(({ bases }) => bases).map((base) => [base.name, base]));
  }

  /**
   * @param horizon the time, in milliseconds since 1970
   * @param own the run ID of the node that asks; null: no node does
   * @param turn called between two histories, so that others have their turn
   */
  static async of(
    histories: readonly History[],
    holdings: Holdings,
    horizon: number,
    own: RunId | null,
    turn: () => Promise<void>,
  ): Promise<Needs> {
    const needs: Need[] = [];
    for (const history of restorable(histories, holdings, horizon, own)) {
      needs.push(needOf(history, holdings, horizon));
      await turn();
    }
    return new Needs(needs, horizon);
  }

  /** The bases at which windows begin, and that therefore let segments be deleted. */
  get firsts(): readonly DatedBase[] {
    return this.#needs.flatMap(({ first }) => first ?? []);
  }

  /** Whether no moment from the time on needs the segment. */
  isOver(segment: ListedSegment): boolean {
    if ((segment.modified ?? Number.POSITIVE_INFINITY) > this.#horizon) return false;
    return this.#needs.every(({ history, first }) => {
      const usableTo = Math.min(segment.end, limitOf(history, segment.runId));
      if (usableTo <= segment.after) return true;
      // The segment with the last byte of the base stays: it tells whether the base has writes of after a time.
      return first !== null && usableTo < first.offset;
    });
  }
}

/** @returns the histories of which something is to be restored */
function restorable(
  histories: readonly History[],
  holdings: Holdings,
  horizon: number,
  own: RunId | null,
): readonly History[] {
  const latest = ({ runId }: History): number => holdings.get(runId)?.latest ?? Number.NEGATIVE_INFINITY;
  const held = histories
    .filter((history) => goesOn(history, histories, holdings))
    .sort((one, other) => latest(other) - latest(one))
    .slice(0, MAX_HELD);
  return histories.filter(
    (history) => held.includes(history) || history.runId === own || latest(history) > horizon,
  );
}

function needOf(history: History, holdings: Holdings, horizon: number): Need {
  const all = basesOf(history, holdings);
  const from = all.findLastIndex(({ at, modified }) => Math.max(at, modified) <= horizon);
  const candidates = all.slice(Math.max(0, from));
  const bases: DatedBase[] = [];
  const stretches = stretchesOf(history, holdings);
  let reached = -1;
  let index = 0;
  for (const base of candidates) {
    if (base.offset <= reached) continue;
    while (index < stretches.length && (stretches[index]?.to ?? 0) <= base.offset) index += 1;
    const stretch = stretches[index];
    if (stretch === undefined) break;
    if (stretch.from > base.offset) continue;
    bases.push(base);
    reached = stretch.to;
  }
  return { history, first: candidates[0] ?? null, bases };
}

/** @returns the offset up to which bytes of a run ID are those of the history */
function limitOf({ runId, lineage }: History, of: RunId): number {
  if (of === runId) return Number.POSITIVE_INFINITY;
  return lineage.find((ancestor) => ancestor.runId === of)?.validTo ?? Number.NEGATIVE_INFINITY;
}
