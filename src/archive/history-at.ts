/** Which history the nodes of an archive were on at a time, or why nobody knows: for who asks for one time, and for who lists all times. */
import type { History } from '../replication/history.ts';
import { ArchiveError } from './archive-error.ts';
import type { Catalogue, Span } from './catalogue.ts';
import type { Untold } from './first-told.ts';
import { Periods } from './periods/periods.ts';

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
  const periods = await Periods.of(catalogue);
  const present = await periods.at(time);
  if (present.kind === 'one') {
    const untold = periods.untold.filter(({ since }) => since > time);
    return { history: present.history, others: periods.known, untold };
  }
  const [unsure] = present.unsure;
  const why = unsure === undefined ? '' : `; ${unsure.why}`;
  if (present.kind === 'none') {
    throw new ArchiveError(`the archive has no backup of before ${new Date(time).toISOString()}${why}`);
  }
  throw new ArchiveError(
    `the archive has several histories of that time, ${present.runIds.join(' and ')}: choose with --to-position RUNID:OFFSET${why}`,
  );
}

/** A history, and the first and the last moment of some for which `historyAt` gives it, in milliseconds since 1970. */
export type HistorySpan = Span & { readonly history: History };

/** @returns all times for which `historyAt` gives a history, in order @throws TargetError */
export async function historySpans(catalogue: Catalogue): Promise<readonly HistorySpan[]> {
  return await (await Periods.of(catalogue)).spans();
}
