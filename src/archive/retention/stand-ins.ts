/**
 * Finds backups for which an earlier one cannot stand in, because a segment between them is not what its name says. By the names alone,
 * segments lead from one backup to the next; the node has made the later one because they do not.
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

/** Looks into the segments, once into each. */
class Walk {
  readonly #request: StandInRequest;
  readonly #right = new Set<string>();
  readonly #wrong = new Set<string>();

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
    /** Up to here, whole segments follow a backup that stays. */
    let reached = Number.NEGATIVE_INFINITY;
    for (const base of candidates) {
      if (!names.has(base.name)) {
        staying.push(base);
        reached = Number.NEGATIVE_INFINITY;
        continue;
      }
      // What is no whole backup serves nothing.
      if (!spared.has(base.name) || !(await this.#isWhole(base))) continue;
      if (reached < 0) reached = (await this.#lastWhole(staying))?.offset ?? Number.NEGATIVE_INFINITY;
      if (reached < 0 || !(await this.#leads(coverage, reached, base.offset))) missing.push(base.name);
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

  /** Whether segments that are what their names say lead from one offset to another. */
  async #leads(coverage: Coverage, from: number, to: number): Promise<boolean> {
    for (;;) {
      const pieces: UsableSegment[] = [];
      let at = from;
      for (const each of coverage.chain(from, this.#wrong)) {
        if (at >= to) break;
        pieces.push(each);
        at = each.usableTo;
      }
      if (at < to) return false;
      const unread = pieces.filter(({ segment }) => !this.#right.has(segment.name));
      if (unread.length === 0) return true;
      for (let next = 0; next < unread.length; next += AT_A_TIME) {
        if (this.#right.size + this.#wrong.size >= MAX_LOOKS) return false;
        await Promise.all(unread.slice(next, next + AT_A_TIME).map(({ segment }) => this.#look(segment)));
      }
    }
  }

  async #look(segment: ListedSegment): Promise<void> {
    const { target, call } = this.#request;
    const isRight = (await lookAtSegment(target, segment, call)) !== null;
    (isRight ? this.#right : this.#wrong).add(segment.name);
  }
}
