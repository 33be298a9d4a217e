/**
 * Which history the nodes of an archive were on at a time: a run ID counts from the moment at which it became the run ID of a history until
 * another one has taken it over, as the lineages say, also if nothing was archived under it: its descendants have its bytes.
 *
 * A lineage does not say that the ancestor has ended: a copy of a node, or a node that was cut off, goes on. So a run ID that has bytes
 * of later than that beyond what they share is not taken over, and who asks for a time has to choose.
 */
import type { Ancestor, History } from '../replication/history.ts';
import { ArchiveError } from './archive-error.ts';
import type { Catalogue, Span } from './catalogue.ts';
import { isOfCopy, sharedBy } from './coverage.ts';
import type { Untold } from './first-told.ts';

/** Longest time for which a node that is taken over goes on, because clocks differ or nobody has told it, in milliseconds. What it writes then is lost. */
const HAND_OVER_MS = 60_000;
/** Time after which a node that went on for longer, and was no copy, counts as ended, in milliseconds. */
const QUIET_MS = 24 * 3_600_000;

/** What an archive says of a time. */
interface HistoryAt {
  /** The history that the nodes were on. */
  readonly history: History;
  /** All histories that the archive knows. */
  readonly others: readonly History[];
  /** Run IDs of which no history can be read. As far as the list of the target shows, they began later. */
  readonly untold: readonly Untold[];
}

/** @throws ArchiveError if the archive does not say which history it was, or has no backup of before */
export async function historyAt(catalogue: Catalogue, time: number): Promise<HistoryAt> {
  const { known, untold } = await historiesIn(catalogue);
  const begun = known.filter((history) => beganAt(history) <= time);
  const present: History[] = [];
  for (const history of begun) {
    if (!(await isTakenOver(catalogue, history, begun, known, time))) present.push(history);
  }
  const reachable = present.filter((history) =>
    catalogue.bases(sharedBy(history, known)).some(({ at }) => at <= time),
  );
  const unsure = untold.filter(({ since }) => since <= time);
  const [only, another] = reachable;
  if (only === undefined) {
    const why = unsure[0] === undefined ? '' : `; ${unsure[0].why}`;
    throw new ArchiveError(`the archive has no backup of before ${new Date(time).toISOString()}${why}`);
  }
  const isOnly = another === undefined && unsure.length === 0;
  const history = isOnly ? only : await lastOf(catalogue, reachable, unsure, known, time);
  return { history, others: known, untold: untold.filter((each) => !unsure.includes(each)) };
}

/** @returns the histories of all run IDs that have objects or are an ancestor, and run IDs of which no history is known */
async function historiesIn(
  catalogue: Catalogue,
): Promise<{ readonly known: readonly History[]; readonly untold: readonly Untold[] }> {
  const { told, untold } = await catalogue.histories();
  const histories = new Map(told.map((history) => [history.runId, history]));
  for (const { lineage } of told) {
    for (const [index, { runId, at }] of lineage.entries()) {
      const found = histories.get(runId);
      if (found !== undefined && told.includes(found)) continue;
      // A node that has followed another one adds run IDs behind those that the other one has grown out of.
      const older = lineage.slice(index + 1).filter((each) => each.at <= at);
      if (found === undefined || sharedWith(older) > sharedWith(found.lineage)) {
        histories.set(runId, { runId, lineage: older });
      }
    }
  }
  return { known: [...histories.values()], untold: untold.filter(({ runId }) => !histories.has(runId)) };
}

/** @returns the offset up to which a history shares its bytes with the one before it; -1: there is none before */
function sharedWith(lineage: readonly Ancestor[]): number {
  return lineage[0]?.validTo ?? -1;
}

/** @returns when a run ID became that of the history, in milliseconds since 1970; 0: unknown */
function beganAt({ lineage }: History): number {
  return lineage[0]?.at ?? 0;
}

async function isTakenOver(
  catalogue: Catalogue,
  { runId }: History,
  begun: readonly History[],
  known: readonly History[],
  time: number,
): Promise<boolean> {
  for (const { lineage } of begun) {
    const entry = lineage.find((ancestor) => ancestor.runId === runId);
    if (entry !== undefined && entry.at <= time && (await endOf(catalogue, entry, known)) <= time)
      return true;
  }
  return false;
}

/** @returns when an ancestor had ended for sure, in milliseconds since 1970; infinity: it may go on still */
async function endOf(catalogue: Catalogue, entry: Ancestor, known: readonly History[]): Promise<number> {
  const last = Math.max(
    await catalogue.lastWrite(entry, entry.at),
    ...known.flatMap(({ lineage }) =>
      lineage
        .filter(({ runId, validTo }) => runId === entry.runId && validTo > entry.validTo)
        // An old backup can be restored, and an old copy be started, long after the history has ended.
        .filter((other) => !isOfCopy(other))
        .map(({ at }) => at),
    ),
  );
  if (last <= entry.at) return entry.at;
  if (isOfCopy(entry)) return Number.POSITIVE_INFINITY;
  return last - entry.at <= HAND_OVER_MS ? entry.at : last + QUIET_MS;
}

/**
 * Chooses among histories of which none has taken over another: one that began when all others had ended, as after a node began anew.
 * @param unsure run IDs that are no more than a span
 * @throws ArchiveError if two were written at one time, or may have been: nobody knows which is wanted
 */
async function lastOf(
  catalogue: Catalogue,
  reachable: readonly History[],
  unsure: readonly Untold[],
  known: readonly History[],
  time: number,
): Promise<History> {
  const spans: (Span & { readonly history: History })[] = [];
  for (const history of reachable) {
    const span = await spanOf(catalogue, history, known);
    if (span !== null && span.from <= time) spans.push({ ...span, history });
  }
  spans.sort((a, b) => b.from - a.from);
  const [newest, ...others] = spans;
  const ends = [...others.map(({ to }) => to), ...unsure.map(({ until }) => until)];
  if (newest !== undefined && ends.every((end) => end < newest.from)) return newest.history;
  const ids = [...reachable, ...unsure].map(({ runId }) => runId).sort();
  const why = unsure[0] === undefined ? '' : `; ${unsure[0].why}`;
  throw new ArchiveError(
    `the archive has several histories of that time, ${ids.join(' and ')}: choose with --to-position RUNID:OFFSET${why}`,
  );
}

/** @returns from when to when a history is known to have been that of a node; null: the archive does not say */
async function spanOf(
  catalogue: Catalogue,
  history: History,
  known: readonly History[],
): Promise<Span | null> {
  const run = catalogue.runs.get(history.runId);
  const span = run === undefined ? null : await catalogue.span(run);
  const began = history.lineage[0]?.at ?? span?.from;
  if (began === undefined) return null;
  const ends = known.flatMap(({ lineage }) =>
    lineage.filter((each) => each.runId === history.runId && !isOfCopy(each)).map(({ at }) => at),
  );
  return { from: began, to: Math.max(began, span?.to ?? began, ...ends) };
}
