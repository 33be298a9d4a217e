/** From which time on bases serve: the segments with their last bytes tell, as a restore asks these whatever their age. */
import { type BackupTarget, type TargetCall, TargetError } from '../../node/ports/backup-target.ts';
import type { RunId } from '../../replication/position.ts';
import { gotBy, latestOf, madeAt, type Present } from '../commit-times.ts';
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
  readonly #clock: Present | null;
  /** The offsets of the bases, in order. */
  readonly #offsets: readonly number[];
  /** By the offset of the base. */
  readonly #segments = new Map<number, ListedSegment[]>();
  /** By the names of a segment and a base, what was read. */
  readonly #read = new Map<string, number>();
  /** By the name of a segment, whether it is whole. */
  readonly #checked = new Map<string, boolean>();

  private constructor(target: BackupTarget, call: TargetCall, holdings: Holdings, clock: Present | null) {
    this.#target = target;
    this.#call = call;
    this.#clock = clock;
    const offsets = [...holdings.values()].flatMap(({ bases }) => bases.map(({ offset }) => offset));
    this.#offsets = [...new Set(offsets)].sort((one, other) => one - other);
  }

  /**
   * Lists the target.
   * @param clusters what it has of each
   * @param clock null: times count that cannot be right, as for what is deleted; else they count as for a restore
   * @throws TargetError
   */
  static async of(
    target: BackupTarget,
    folder: string,
    call: TargetCall,
    clusters: ReadonlyMap<string | null, Holdings>,
    clock: Present | null,
  ): Promise<ReadonlyMap<string | null, LastBytes>> {
    const found = new Map<string | null, LastBytes>();
    for (const [cluster, holdings] of clusters)
      found.set(cluster, new LastBytes(target, call, holdings, clock));
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
  async servesFrom(base: DatedBase, limitOf: LimitOf): Promise<number> {
    const { offset, at, name } = base;
    const segments = this.#with(offset, limitOf);
    if (segments.length > MAX_ASKED) return Number.POSITIVE_INFINITY;
    let from = at;
    for (const segment of segments) {
      const key = `${segment.name} ${name}`;
      const time = this.#read.get(key) ?? (await this.#latestIn(segment, base));
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

  async #latestIn(segment: ListedSegment, base: DatedBase): Promise<number> {
    const clock = this.#clock;
    const doubts = clock === null ? undefined : { got: gotBy(segment, clock), madeAt: madeAt(base, clock) };
    try {
      const { after, marks } = await headerIn(this.#target, segment, this.#call);
      return latestOf(marks, after, base.offset, doubts);
    } catch (error) {
      if (error instanceof SegmentError) return Number.POSITIVE_INFINITY;
      // Somebody else has deleted it.
      if (error instanceof TargetError && error.code === 'NOT_FOUND') return Number.NEGATIVE_INFINITY;
      throw error;
    }
  }
}
