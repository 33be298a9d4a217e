/** All objects of one cluster in a target, and what the segments among them say of their histories. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BackupTarget } from '../node/ports/backup-target.ts';
import type { History } from '../replication/history.ts';
import type { RunId } from '../replication/position.ts';
import { ArchiveError } from './archive-error.ts';
import { Coverage, type ListedBase, type ListedSegment, type Shares } from './coverage.ts';
import { parseArchived } from './names.ts';
import { historyOf, SegmentError } from './segment.ts';
import { type OpenSegment, openSegment } from './segment-reader.ts';

/** What the archive has of one run ID. */
export interface Run {
  readonly runId: RunId;
  /** Sorted by the first byte. */
  readonly segments: readonly ListedSegment[];
  readonly bases: readonly ListedBase[];
}

/** The oldest and the newest moment of which the archive has something of a run ID, in milliseconds since 1970. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Most objects of a target that are read: a month of segments every ten seconds, of three nodes. */
const MAX_OBJECTS = 1_000_000;

export class Catalogue {
  readonly #target: BackupTarget;
  /** Folder for segments that are read. */
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly runs: ReadonlyMap<RunId, Run>;

  private constructor(
    target: BackupTarget,
    folder: string,
    signal: AbortSignal,
    runs: ReadonlyMap<RunId, Run>,
  ) {
    this.#target = target;
    this.#folder = folder;
    this.#signal = signal;
    this.runs = runs;
  }

  /**
   * @param cluster the name in front of the run IDs; null: there is only one in the target
   * @param folder for files while they are read
   * @param most objects that the target may list
   * @throws ArchiveError if there are several archives, or more objects; TargetError
   */
  static async read(
    target: BackupTarget,
    cluster: string | null,
    folder: string,
    signal: AbortSignal,
    most = MAX_OBJECTS,
  ): Promise<Catalogue> {
    const runs = new Map<RunId, { runId: RunId; segments: ListedSegment[]; bases: ListedBase[] }>();
    const clusters = new Set<string | null>();
    let objects = 0;
    for await (const { modified, name, size } of target.list(cluster ?? '', { signal })) {
      objects += 1;
      if (objects > most) {
        const advice = cluster === null ? 'name the archive with --cluster' : 'delete old segments';
        throw new ArchiveError(`${target.shown} has more than ${most} objects: ${advice}`);
      }
      const found = parseArchived(name);
      if (found === null || (cluster !== null && found.cluster !== cluster)) continue;
      clusters.add(found.cluster);
      const { runId } = found;
      const run = runs.get(runId) ?? { runId, segments: [], bases: [] };
      runs.set(runId, run);
      if (found.kind === 'segment') run.segments.push({ ...found, modified, size });
      else run.bases.push({ ...found, modified, size });
    }
    if (clusters.size > 1) {
      throw new ArchiveError(
        `${target.shown} has archives of ${[...clusters].sort().join(', ')}; name one with --cluster`,
      );
    }
    for (const { segments } of runs.values()) segments.sort((a, b) => a.after - b.after || a.end - b.end);
    return new Catalogue(target, folder, signal, runs);
  }

  /** @returns what the archive has of a history */
  coverage(history: Shares): Coverage {
    const runs = [...this.runs.values()];
    return new Coverage(
      history,
      runs.flatMap(({ segments }) => segments),
      runs.flatMap(({ bases }) => bases),
    );
  }

  /** @returns the history of a run ID, as its newest segment says; without ancestors if there is no segment */
  async history({ runId, segments }: Run): Promise<History> {
    const newest = segments.at(-1);
    if (newest === undefined) return { runId, lineage: [] };
    return this.use(newest, async ({ header }) => historyOf(header));
  }

  /** @returns the span of a run ID; null: the archive does not say */
  async span({ segments, bases }: Run): Promise<Span | null> {
    const times = bases.map(({ at }) => at);
    for (const segment of [segments[0], segments.at(-1)]) {
      if (segment === undefined) continue;
      times.push(...(await this.use(segment, async ({ header }) => header.marks.map(([, ms]) => ms))));
    }
    return times.length === 0 ? null : { from: Math.min(...times), to: Math.max(...times) };
  }

  /**
   * Gets a segment, checks it, and gives it to `use`.
   * @throws ArchiveError if it is not what its name says, or is not what was written; TargetError; what `use` throws
   */
  async use<T>(segment: ListedSegment, use: (open: OpenSegment) => Promise<T>): Promise<T> {
    const path = join(this.#folder, 'segment');
    try {
      const most = segment.size;
      await this.#target.get(segment.name, path, {
        signal: this.#signal,
        ...(most !== undefined && { most }),
      });
      const open = await openSegment(path);
      const { runId, after, end } = open.header;
      if (runId !== segment.runId || after !== segment.after || end !== segment.end) {
        throw new SegmentError(`it is the segment ${after + 1}-${end} of ${runId}, under another name`);
      }
      return await use(open);
    } catch (error) {
      if (!(error instanceof SegmentError)) throw error;
      throw new ArchiveError(`${this.#target.shown}: ${segment.name} is damaged: ${error.message}`);
    } finally {
      await rm(path, { force: true });
    }
  }
}
