/** What `psyncd restore --to-time` says when nothing later is archived. */

/** Largest unit first, with its milliseconds. */
const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
  ['ms', 1],
] as const;

interface ArchiveEnd {
  /** The time that was asked for, in milliseconds since 1970. */
  readonly asked: number;
  /** When the last write that is restored was committed at the latest, in milliseconds since 1970. */
  readonly reached: number;
  /** The present time, in milliseconds since 1970; undefined: nobody knows whether the time that was asked for is to come. */
  readonly now: number | undefined;
  /** Whether segments of the archive were restored, and not a backup alone. */
  readonly hasSegments: boolean;
}

/** @returns one line: of which moment the restored state is, and by how much that is before the time that was asked for */
export function archiveEndLine({ asked, reached, now, hasSegments }: ArchiveEnd): string {
  const isToCome = now !== undefined && asked > now;
  const wanted = `asked for ${new Date(asked).toISOString()}${isToCome ? ', which is to come' : ''}`;
  const what = hasSegments ? 'the last archived write is' : 'the last backup before it is';
  const age = asked > reached ? `, ${span(asked - reached)} earlier` : '';
  const end = hasSegments ? 'the archive ends there' : 'the archive ends there, as no segment follows';
  return `${wanted}; ${what} of ${new Date(reached).toISOString()}${age}: ${end}, and does not say whether something was written after that`;
}

/** Formats milliseconds in the two largest units that have something, such as 2 h 13 min. */
function span(ms: number): string {
  const shown: string[] = [];
  let rest = ms < 1_000 ? ms : ms - (ms % 1_000);
  for (const [unit, unitMs] of UNITS) {
    const whole = Math.floor(rest / unitMs);
    rest -= whole * unitMs;
    if (whole > 0) shown.push(`${whole} ${unit}`);
    else if (shown.length > 0) break;
    if (shown.length === 2) break;
  }
  return shown.join(' ');
}
