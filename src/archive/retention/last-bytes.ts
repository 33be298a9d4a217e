/** From which time on bases serve: the segments with their last bytes tell, as a restore asks these whatever their age. */
import { type BackupTarget, type TargetCall, TargetError } from '../../node/ports/backup-target.ts';
import type { RunId } from '../../replication/position.ts';
import type { Mark } from '../commit-times.ts';
import type { ListedSegment } from '../coverage.ts';
import { isWholeSegment } from '../looks.ts';
import { parseArchived } from '../names.ts';
import { SegmentError } from '../segment.ts';
import { headerIn } from './header-in.ts';
import type { DatedBase, Holdings } from './holdings.ts';

/** Most segments that have one byte and are asked; with more, the base counts as one that serves no time. */
const MAX_ASKED = 8;

/** @returns the offset up to which bytes of a run ID are those of a history */
export type LimitOf = (runId: RunId) => number;

/** The segments of one cluster with the last bytes of its bases. */
export class LastBytes {
  readonly #target: BackupTarget;
  readonly #call: TargetCall;
  /** The offsets of the bases, in order. */
  readonly #offsets: readonly number[];
  /** By the offset of the base. */
  readonly #segments = new Map<number, ListedSegment[]>();
  /** By the name of a segment and an offset, what was read. */
  readonly #read = new Map<string, number>();
  /** By the name of a segment, whether it is whole. */
  readonly #checked = new Map<string, boolean>();

  private constructor(target: BackupTarget, call: TargetCall, holdings: Holdings) {
    this.#target = target;
    this.#call = call;
    const offsets = [...holdings.values()].flatMap(({ bases }) => bases.map(({ offset }) => offset));
    this.#offsets = [...new Set(offsets)].sort((one, other) => one - other);
  }

  /**
   * Lists the target.
   * @param clusters what it has of each
   * @throws TargetError
   */
  static async of(
    target: BackupTarget,
    folder: string,
    call: TargetCall,
    clusters: ReadonlyMap<string | null, Holdings>,
  ): Promise<ReadonlyMap<string | null, LastBytes>> {
    const found = new Map<string | null, LastBytes>();
    for (const [cluster, holdings] of clusters) found.set(cluster, new LastBytes(target, call, holdings));
    if (found.size === 0) return found;
    for await (const { name, modified } of target.list(folder, call)) {
      const parsed = parseArchived(name);
      const lastBytes = parsed?.kind === 'segment' ? found.get(parsed.cluster) : undefined;
      if (parsed?.kind === 'segment' && lastBytes !== undefined) lastBytes.#add({ ...parsed, modified });
    }
    return found;
  }

  #add(segment: ListedSegment): void {
    let [low, high] = [0, this.#offsets.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#offsets[middle] as number) <= segment.after) low = middle + 1;
      else high = middle;
    }
    for (let index = low; (this.#offsets[index] ?? Number.POSITIVE_INFINITY) <= segment.end; index += 1) {
      const offset = this.#offsets[index] as number;
      const segments = this.#segments.get(offset) ?? [];
      this.#segments.set(offset, segments);
      if (segments.length <= MAX_ASKED) segments.push(segment);
    }
  }

  /**
   * @returns the time from which on the base serves, in milliseconds since 1970: that of its name, or that of its last writes, if the clock
   *   was set back before it was made; infinity: it cannot be told
   * @throws TargetError
   */
  async servesFrom({ offset, at }: DatedBase, limitOf: LimitOf): Promise<number> {
    const segments = this.#with(offset, limitOf);
    if (segments.length > MAX_ASKED) return Number.POSITIVE_INFINITY;
    let from = at;
    for (const segment of segments) {
      const key = `${segment.name} ${offset}`;
      const time = this.#read.get(key) ?? (await this.#latestIn(segment, offset));
      this.#read.set(key, time);
      from = Math.max(from, time);
    }
    return from;
  }

  /**
   * Compares all bytes of what `servesFrom` has asked with their SHA-256.
   * @returns whether it is what was written
   * @throws TargetError
   */
  async isSure({ offset }: DatedBase, limitOf: LimitOf): Promise<boolean> {
    for (const segment of this.#with(offset, limitOf)) {
      const { name } = segment;
      const isWhole = this.#checked.get(name) ?? (await isWholeSegment(this.#target, segment, this.#call));
      this.#checked.set(name, isWhole);
      if (!isWhole) return false;
    }
    return true;
  }

  /** @returns the segments of a history with the byte at an offset */
  #with(offset: number, limitOf: LimitOf): readonly ListedSegment[] {
    return (this.#segments.get(offset) ?? []).filter(({ runId }) => limitOf(runId) >= offset);
  }

  async #latestIn(segment: ListedSegment, offset: number): Promise<number> {
    try {
      const { after, marks } = await headerIn(this.#target, segment, this.#call);
      return latestOf(marks, after, offset);
    } catch (error) {
      if (error instanceof SegmentError) return Number.POSITIVE_INFINITY;
      // Somebody else has deleted it.
      if (error instanceof TargetError && error.code === 'NOT_FOUND') return Number.NEGATIVE_INFINITY;
      throw error;
    }
  }
}

/** @returns the latest time of the bytes after one offset up to another, in milliseconds since 1970; negative infinity: none is known */
function latestOf(marks: readonly Mark[], after: number, upTo: number): number {
  let [from, latest] = [after, Number.NEGATIVE_INFINITY];
  for (const [at, ms] of marks) {
    if (from >= upTo) break;
    latest = Math.max(latest, ms);
    from = at;
  }
  return latest;
}
