/**
 * From when to when the nodes of an archive were on which history. A run ID counts from the moment at which it became the run ID of a history
 * until another one has taken it over, as the lineages say, also if nothing was archived under it: its descendants have its bytes.
 *
 * A lineage does not say that the ancestor has ended: a copy of a node, or a node that was cut off, goes on. So a run ID that has bytes
 * of later than that beyond what they share is not taken over, and who asks for a time has to choose.
 */
import type { Ancestor, History } from '../../replication/history.ts';
import type { RunId } from '../../replication/position.ts';
import type { Catalogue, Span } from '../catalogue.ts';
import { isOfCopy, sharedBy, sharesOf } from '../coverage.ts';
import type { Untold } from '../first-told.ts';
import { type Begin, Begins } from './begins.ts';

/** Longest time for which a node that is taken over goes on, because clocks differ or nobody has told it, in milliseconds. What it writes then is lost. */
const HAND_OVER_MS = 60_000;
/** Time after which a node that went on for longer, and was no copy, counts as ended, in milliseconds. */
const QUIET_MS = 24 * 3_600_000;

/** What is asked of an archive. */
type Archive = Pick<Catalogue, 'runs' | 'histories' | 'glance' | 'header' | 'lastWrite' | 'span'>;

/** A history, and when nodes were on it, in milliseconds since 1970. */
interface Period {
  readonly history: History;
  /** The first moment, at the earliest; negative infinity: unknown. */
  readonly from: number;
  /** The first moment, at the latest. */
  readonly by: number;
  /** The first moment at which another one had taken over; infinity: none has. */
  readonly until: number;
  /** The time of its first backup: before it, nothing of it can be restored. */
  readonly since: number;
}

/** Which history a time belongs to. */
export type Present =
  | { readonly kind: 'one'; readonly history: History }
  /** The archive has no backup of before. */
  | { readonly kind: 'none'; readonly unsure: readonly Untold[] }
  /** Nobody knows which of them is meant. */
  | { readonly kind: 'several'; readonly runIds: readonly RunId[]; readonly unsure: readonly Untold[] };

export class Periods {
  readonly #archive: Archive;
  readonly #begins: Begins;
  readonly #periods: readonly Period[];
  readonly #spans = new Map<RunId, Promise<Span | null>>();
  /** All histories that the archive knows: those of the run IDs that have objects, and those of their ancestors. */
  readonly known: readonly History[];
  /** Run IDs of which no history can be read. */
  readonly untold: readonly Untold[];

  private constructor(
    archive: Archive,
    begins: Begins,
    periods: readonly Period[],
    untold: readonly Untold[],
  ) {
    this.#archive = archive;
    this.#begins = begins;
    this.#periods = periods;
    this.known = periods.map(({ history }) => history);
    this.untold = untold;
  }

  /** @throws TargetError */
  static async of(archive: Archive): Promise<Periods> {
    const { told, untold } = await archive.histories();
    const begins = await Begins.of(archive, told);
    const known = withAncestors(told, begins);
    const ends = await endsOf(archive, known, begins);
    const periods = known.map((history): Period => {
      const { from, by } = beginOf(history, known, begins);
      const until = ends.get(history.runId) ?? Number.POSITIVE_INFINITY;
      return { history, from, by, until, since: firstBaseOf(archive, history, known) };
    });
    const isKnown = new Set(known.map(({ runId }) => runId));
    return new Periods(
      archive,
      begins,
      periods,
      untold.filter(({ runId }) => !isKnown.has(runId)),
    );
  }

  /** @param time milliseconds since 1970 @returns which history the nodes were on @throws TargetError */
  async at(time: number): Promise<Present> {
    const { present, unsure } = this.#presentAt(time);
    const [only, another] = present;
    if (only === undefined) return { kind: 'none', unsure };
    const isOne = another === undefined && unsure.length === 0;
    const found = isOne ? only : await this.#lastOf(present, unsure, time);
    if (found !== null) {
      const { since } = this.#periodOf(found);
      return since <= time ? { kind: 'one', history: found } : { kind: 'none', unsure };
    }
    const runIds = [...present, ...unsure].map(({ runId }) => runId).sort();
    return { kind: 'several', runIds, unsure };
  }

  /** @returns all times of which `at` knows the history, in order @throws TargetError */
  async spans(): Promise<readonly (Span & { readonly history: History })[]> {
    const spans: (Span & { readonly history: History })[] = [];
    const moments = await this.#moments();
    for (const [index, from] of moments.entries()) {
      const present = await this.at(from);
      if (present.kind !== 'one') continue;
      const to = (moments[index + 1] ?? Number.POSITIVE_INFINITY) - 1;
      const before = spans.at(-1);
      if (before?.history === present.history && before.to === from - 1)
        spans[spans.length - 1] = { ...before, to };
      else spans.push({ history: present.history, from, to });
    }
    return spans;
  }

  /** @returns all moments at which what `at` says may change, in order */
  async #moments(): Promise<readonly number[]> {
    const moments = new Set<number>();
    for (const { from, by, until, since } of this.#periods) {
      for (const each of [from, since, by, until]) moments.add(each);
    }
    for (const { since, until } of this.untold) moments.add(since).add(until + 1);
    const chosen = new Set<History>();
    for (const moment of moments) {
      const { present, unsure } = this.#presentAt(moment);
      if (present.length > 1 || unsure.length > 0) for (const history of present) chosen.add(history);
    }
    for (const history of chosen) {
      const span = await this.#spanOf(history);
      if (span !== null) moments.add(span.from).add(span.to + 1);
    }
    return [...moments].filter(Number.isFinite).sort((one, other) => one - other);
  }

  /** @returns the histories of which none has taken over another, also if the archive has no backup of before, and the run IDs that may have */
  #presentAt(time: number): { readonly present: readonly History[]; readonly unsure: readonly Untold[] } {
    const present = this.#periods
      .filter(({ from, until, since }) => (Number.isFinite(from) ? from : since) <= time && time < until)
      .map(({ history }) => history);
    return { present, unsure: this.untold.filter(({ since }) => since <= time) };
  }

  #periodOf(history: History): Pick<Period, 'by' | 'since'> {
    return this.#periods.find((each) => each.history === history) as Period;
  }

  /**
   * Chooses among histories of which none has taken over another: one that began when all others had ended, as after a node began anew.
   * @param unsure run IDs that are no more than a span
   * @returns null: two were written at one time, or may have been
   */
  async #lastOf(
    present: readonly History[],
    unsure: readonly Untold[],
    time: number,
  ): Promise<History | null> {
    const spans: (Span & { readonly history: History })[] = [];
    for (const history of present) {
      const span = await this.#spanOf(history);
      if (span === null || span.from > time) continue;
      // Nobody knows whether it had begun by then.
      if (time < this.#periodOf(history).by) return null;
      spans.push({ ...span, history });
    }
    spans.sort((a, b) => b.from - a.from);
    const [newest, ...others] = spans;
    const ends = [...others.map(({ to }) => to), ...unsure.map(({ until }) => until)];
    return newest !== undefined && ends.every((end) => end < newest.from) ? newest.history : null;
  }

  /** @returns from when to when a history is known to have been that of a node; null: the archive does not say */
  #spanOf(history: History): Promise<Span | null> {
    const found = this.#spans.get(history.runId) ?? this.#lookUp(history);
    this.#spans.set(history.runId, found);
    return found;
  }

  async #lookUp(history: History): Promise<Span | null> {
    const { runId } = history;
    const spans: Span[] = [];
    // What began with the archive is as old as the ancestors whose bytes it has.
    const { from } = beginOf(history, this.known, this.#begins);
    const lines =
      from > Number.NEGATIVE_INFINITY ? [runId] : [runId, ...history.lineage.map((each) => each.runId)];
    for (const each of lines) {
      const run = this.#archive.runs.get(each);
      const span = run === undefined ? null : await this.#archive.span(run);
      if (span !== null) spans.push(span);
    }
    const began = from > Number.NEGATIVE_INFINITY ? from : Math.min(...spans.map((span) => span.from));
    if (!Number.isFinite(began)) return null;
    const ends = this.known.flatMap((other) =>
      other.lineage
        .filter((each) => each.runId === runId && !isOfCopy(each))
        .map((each) => this.#begins.after(each).by),
    );
    return { from: began, to: Math.max(began, ...spans.map(({ to }) => to), ...ends) };
  }
}

/** @returns when the history began: no earlier than the one that it has grown out of; from negative infinity: with the archive */
function beginOf({ lineage }: History, known: readonly History[], begins: Begins): Begin {
  const seen = new Set<RunId>();
  let [entry] = lineage;
  while (entry !== undefined && !seen.has(entry.runId)) {
    const { runId } = entry;
    const begin = begins.after(entry);
    if (begin.from > Number.NEGATIVE_INFINITY) return begin;
    seen.add(runId);
    entry = known.find((history) => history.runId === runId)?.lineage[0];
  }
  return { from: Number.NEGATIVE_INFINITY, by: Number.NEGATIVE_INFINITY };
}

/** @returns the histories, and those of the ancestors that have no objects */
function withAncestors(told: readonly History[], begins: Begins): readonly History[] {
  const histories = new Map(told.map((history) => [history.runId, history]));
  for (const { lineage } of told) {
    for (const [index, { runId, at }] of lineage.entries()) {
      const found = histories.get(runId);
      if (found !== undefined && told.includes(found)) continue;
      // A node that has followed another one adds run IDs behind those that the other one has grown out of.
      const older = lineage.slice(index + 1).filter((each) => begins.after(each).from <= at);
      if (found === undefined || sharedWith(older) > sharedWith(found.lineage)) {
        histories.set(runId, { runId, lineage: older });
      }
    }
  }
  return [...histories.values()];
}

/** @returns the offset up to which a history shares its bytes with the one before it; -1: there is none before */
function sharedWith(lineage: readonly Ancestor[]): number {
  return lineage[0]?.validTo ?? -1;
}

/** @returns by run ID, the first moment at which another history had taken over, in milliseconds since 1970 */
async function endsOf(
  archive: Archive,
  known: readonly History[],
  begins: Begins,
): Promise<ReadonlyMap<RunId, number>> {
  const ends = new Map<RunId, number>();
  for (const history of known) {
    const began = beginOf(history, known, begins).from;
    for (const entry of history.lineage) {
      const before = ends.get(entry.runId) ?? Number.POSITIVE_INFINITY;
      if (Math.max(began, begins.after(entry).from) >= before) continue;
      const end = Math.max(began, await endOf(archive, entry, known, begins));
      ends.set(entry.runId, Math.min(before, end));
    }
  }
  return ends;
}

/** @returns when an ancestor had ended for sure, in milliseconds since 1970; infinity: it may go on still */
async function endOf(
  archive: Archive,
  entry: Ancestor,
  known: readonly History[],
  begins: Begins,
): Promise<number> {
  const { from, by } = begins.after(entry);
  if (from === Number.NEGATIVE_INFINITY) return from;
  const since = begins.isWrong(entry) ? Number.NEGATIVE_INFINITY : by;
  const last = Math.max(
    await archive.lastWrite(entry, since),
    ...known.flatMap(({ lineage }) =>
      lineage
        .filter(({ runId, validTo }) => runId === entry.runId && validTo > entry.validTo)
        // An old backup can be restored, and an old copy be started, long after the history has ended.
        .filter((other) => !isOfCopy(other))
        .map((other) => begins.after(other).by),
    ),
  );
  if (last <= by) return by;
  if (isOfCopy(entry)) return Number.POSITIVE_INFINITY;
  if (last - by <= HAND_OVER_MS) return by;
  const until = last + QUIET_MS;
  // It wrote nothing after the begin that the lineage names: what contradicts that begin may be of a clock that was a little behind.
  return last <= entry.at ? Math.min(until, entry.at) : until;
}

/** @returns the time of the first backup of a history, in milliseconds since 1970; infinity: it has none */
function firstBaseOf({ runs }: Archive, history: History, known: readonly History[]): number {
  let first = Number.POSITIVE_INFINITY;
  for (const { runId, validTo } of sharesOf(sharedBy(history, known))) {
    for (const { at, offset } of runs.get(runId)?.bases ?? []) {
      if (offset <= validTo) first = Math.min(first, at);
    }
  }
  return first;
}
