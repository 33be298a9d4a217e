/**
 * Finds backups for which an earlier one cannot stand in, because a segment between them is not what its name says, or the clock jumped between
 * them. By the names alone, segments lead from one backup to the next; the node has made the later one because they do not.
 */
import {
  type BackupLength,
  type BackupTarget,
  lookAtBackup,
  type TargetCall,
} from '../../node/ports/backup-target.ts';
import type { History } from '../../replication/history.ts';
import { Coverage, type ListedSegment, sharesOf, type UsableSegment } from '../coverage.ts';
import { LEAST_SEGMENT_BYTES, lookAtSegment } from '../looks.ts';
import { parseArchived } from '../names.ts';
import type { DatedBase } from './holdings.ts';
import { TimeOrder, type TimesOf, timesOf } from './time-order.ts';

/** What a history has between its first needed backup and its last one. */
export interface Spared {
  readonly history: History;
  /** The backups, by their offsets. */
  readonly candidates: readonly DatedBase[];
  /** Those of them that segments of an earlier one reach, by their names. */
  readonly spared: ReadonlySet<string>;
}

interface StandInRequest {
  readonly target: BackupTarget;
  readonly folder: string;
  readonly call: TargetCall;
  readonly backupLength: BackupLength;
  /** Called between two backups, so that others have their turn. */
  turn(): Promise<void>;
}

/** Most segments of one call that are remembered, and that are looked into; backups after the others stay until the next time. */
const MAX_REMEMBERED = 100_000;
const MAX_LOOKS = 10_000;
/** Number of segments that are looked into at a time. */
const AT_A_TIME = 8;

/** The bytes after one offset up to another. */
interface Stretch {
  readonly after: number;
  readonly end: number;
}

/**
 * @param names of backups that are to be deleted
 * @param histories of one cluster
 * @returns those of them for which no earlier backup surely stands in
 * @throws TargetError
 */
export async function withoutStandIn(
  request: StandInRequest,
  cluster: string | null,
  histories: readonly Spared[],
  names: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  const open = histories.filter(({ spared }) => [...spared].some((name) => names.has(name)));
  const segments = await segmentsOf(request, cluster, open, names);
  const walk = new Walk(request);
  const found = new Set<string>();
  for (const [index, each] of open.entries()) {
    const coverage = new Coverage(each.history, segments[index] as readonly ListedSegment[], []);
    for (const name of await walk.missing(each, coverage, names)) found.add(name);
  }
  return found;
}

/** @returns the listed segments between the backups that stay and those that are to go, for each history */
async function segmentsOf(
  { target, folder, call }: StandInRequest,
  cluster: string | null,
  histories: readonly Spared[],
  names: ReadonlySet<string>,
): Promise<readonly (readonly ListedSegment[])[]> {
  const wanted = histories.map((each) => ({
    limits: new Map(sharesOf(each.history).map(({ runId, validTo }) => [runId, validTo])),
    stretches: stretchesBefore(each, names),
    segments: [] as ListedSegment[],
  }));
  let remembered = 0;
  if (histories.length === 0) return [];
  for await (const { name, size, modified } of target.list(folder, call)) {
    const parsed = parseArchived(name);
    if (parsed?.kind !== 'segment' || parsed.cluster !== cluster || size < LEAST_SEGMENT_BYTES) continue;
    for (const { limits, stretches, segments } of wanted) {
      const end = Math.min(parsed.end, limits.get(parsed.runId) ?? 0);
      if (remembered >= MAX_REMEMBERED || !touches(stretches, { after: parsed.after, end })) continue;
      segments.push({ ...parsed, size, modified });
      remembered += 1;
    }
  }
  return wanted.map(({ segments }) => segments);
}

/** @returns from the backups that stay to the last ones behind them that are to go, in order */
function stretchesBefore({ candidates, spared }: Spared, names: ReadonlySet<string>): readonly Stretch[] {
  const stretches: Stretch[] = [];
  let from = 0;
  let end = -1;
  for (const { name, offset } of candidates) {
    if (names.has(name)) {
      if (spared.has(name)) end = offset;
      continue;
    }
    if (end > from) stretches.push({ after: from, end });
    [from, end] = [offset, -1];
  }
  if (end > from) stretches.push({ after: from, end });
  return stretches;
}

/** Whether some bytes are among the stretches, which are in order. */
function touches(stretches: readonly Stretch[], { after, end }: Stretch): boolean {
  let [low, high] = [0, stretches.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((stretches[middle] as Stretch).end <= after) low = middle + 1;
    else high = middle;
  }
  const found = stretches[low];
  return found !== undefined && found.after < end;
}

/** Looks into the segments. */
class Walk {
  readonly #request: StandInRequest;
  /** By the names of those that are right. */
  readonly #right = new Map<string, TimesOf>();
  readonly #wrong = new Set<string>();
  #looks = 0;

  constructor(request: StandInRequest) {
    this.#request = request;
  }

  /** @returns the names of those that are to go and have to stay */
  async missing(
    { candidates, spared }: Spared,
    coverage: Coverage,
    names: ReadonlySet<string>,
  ): Promise<readonly string[]> {
    const missing: string[] = [];
    const staying: DatedBase[] = [];
    /** Up to here, whole segments follow a backup that stays; their times are in order. */
    let reached = Number.NEGATIVE_INFINITY;
    let times = new TimeOrder();
    for (const base of candidates) {
      if (!names.has(base.name)) {
        staying.push(base);
        reached = Number.NEGATIVE_INFINITY;
        continue;
      }
      // What is no whole backup serves nothing.
      if (!spared.has(base.name) || !(await this.#isWhole(base))) continue;
      if (reached < 0) {
        const from = await this.#lastWhole(staying);
        reached = from?.offset ?? Number.NEGATIVE_INFINITY;
        times = new TimeOrder(from?.at);
      }
      if (reached < 0 || !(await this.#leads(coverage, reached, base, times)) || !times.goesOnTo(base.at)) {
        missing.push(base.name);
        times = new TimeOrder(base.at);
      }
      reached = base.offset;
      await this.#request.turn();
    }
    return missing;
  }

  async #isWhole(base: DatedBase): Promise<boolean> {
    const { target, backupLength, call } = this.#request;
    return (await lookAtBackup(target, base, backupLength, call)) === 'whole';
  }

  async #lastWhole(staying: DatedBase[]): Promise<DatedBase | null> {
    for (let last = staying.at(-1); last !== undefined; last = staying.at(-1)) {
      if (await this.#isWhole(last)) return last;
      staying.pop();
    }
    return null;
  }

  /**
   * @param times takes the times of what is between the two
   * @returns whether segments that are what their names say lead from an offset to a backup
   */
  async #leads(
    coverage: Coverage,
    from: number,
    { offset: to }: DatedBase,
    times: TimeOrder,
  ): Promise<boolean> {
    let at = from;
    while (at < to) {
      const pieces: UsableSegment[] = [];
      let end = at;
      for (const each of coverage.chain(at, this.#wrong)) {
        if (end >= to) break;
        pieces.push(each);
        end = each.usableTo;
      }
      if (end < to) return false;
      for (let next = 0; next < pieces.length && at < to; next += AT_A_TIME) {
        const some = pieces.slice(next, next + AT_A_TIME);
        if (this.#looks + some.length > MAX_LOOKS) return false;
        const looks = await Promise.all(some.map((piece) => this.#timesOf(piece, from, to)));
        const wrong = looks.indexOf(null);
        for (const found of wrong < 0 ? looks : looks.slice(0, wrong)) times.follow(found as TimesOf);
        at = some[(wrong < 0 ? some.length : wrong) - 1]?.usableTo ?? at;
        // Others may have the same bytes.
        if (wrong >= 0) break;
      }
    }
    return true;
  }

  /** @returns the times of what a segment has between two offsets; null: it is not what its name says */
  async #timesOf({ segment, usableTo }: UsableSegment, from: number, to: number): Promise<TimesOf | null> {
    const { name, after, end } = segment;
    const isWanted = after >= from && Math.min(usableTo, to) === end;
    const known = isWanted ? this.#right.get(name) : undefined;
    if (known !== undefined || this.#wrong.has(name)) return known ?? null;
    const { target, call } = this.#request;
    this.#looks += 1;
    const look = await lookAtSegment(target, segment, call);
    if (look === null) this.#wrong.add(name);
    else if (isWanted) this.#right.set(name, timesOf(look.marks));
    return look === null
      ? null
      : timesOf(look.marks.filter(([offset]) => offset > from && offset <= Math.min(usableTo, to)));
  }
}
