/** What a target has of the archives of each cluster, by the names of the objects and by when the target got them. */
import { type BackupTarget, type TargetCall, TargetError } from '../../node/ports/backup-target.ts';
import type { History } from '../../replication/history.ts';
import type { RunId } from '../../replication/position.ts';
import { type ListedSegment, sharesOf } from '../coverage.ts';
import { LEAST_BASE_BYTES } from '../looks.ts';
import { type BaseName, parseArchived } from '../names.ts';
import { historyOf, SegmentError } from '../segment.ts';
import { Extents, joined, type Stretch } from './extents.ts';
import { headerIn } from './header-in.ts';

/** A base, and when the target got it, in milliseconds since 1970. */
export type DatedBase = BaseName & { readonly modified: number };

/** What an archive has of one run ID. */
export interface Holding {
  readonly runId: RunId;
  readonly bases: readonly DatedBase[];
  readonly extents: Extents;
  /** When the target got the last object, in milliseconds since 1970. */
  readonly latest: number;
}

/** What an archive has, by run ID. */
export type Holdings = ReadonlyMap<RunId, Holding>;

/** Most objects of a target that are looked at: a year of segments every ten seconds, of three nodes. */
export const MAX_OBJECTS = 10_000_000;
/** Most stretches in memory while a list is read: between two of them is a gap, or what the list has not told yet. */
const MAX_GROWING = 250_000;
/** Most bases. */
const MAX_BASES = 50_000;
/** Most run IDs of one cluster that have segments, and most stretches of all of them that do not touch. */
const MAX_RUNS = 1_000;
const MAX_STRETCHES = 10_000;
/** Most segments of a run ID that are asked for its history. */
const MAX_ASKED = 4;

interface GrowingHolding extends Holding {
  readonly bases: DatedBase[];
  latest: number;
}

/**
 * @param folder of the target; '': all
 * @param most objects that the target may list
 * @param counted gets the number of objects
 * @returns for each cluster (null: the names have none) what its archive has; a cluster without segments is not there
 * @throws TargetError, also if the target has more than can be looked at
 */
export async function holdingsIn(
  target: BackupTarget,
  folder: string,
  call: TargetCall,
  most = MAX_OBJECTS,
  counted: (objects: number) => void = () => undefined,
): Promise<ReadonlyMap<string | null, Holdings>> {
  const clusters = new Map<string | null, Map<RunId, GrowingHolding>>();
  let [objects, growing, bases] = [0, 0, 0];
  for await (const { name, size, modified } of target.list(folder, call)) {
    objects += 1;
    const found = parseArchived(name);
    if (objects > most) throw tooMany(target, most, 'objects');
    if (found === null || (found.kind === 'base' && size < LEAST_BASE_BYTES)) continue;
    const cluster = clusters.get(found.cluster) ?? new Map<RunId, GrowingHolding>();
    clusters.set(found.cluster, cluster);
    let holding = cluster.get(found.runId);
    if (holding === undefined) {
      holding = { runId: found.runId, bases: [], extents: new Extents(), latest: modified };
      cluster.set(found.runId, holding);
    }
    holding.latest = Math.max(holding.latest, modified);
    if (found.kind === 'base') {
      holding.bases.push({ ...found, modified });
      bases += 1;
      if (bases > MAX_BASES) throw tooMany(target, MAX_BASES, 'backups');
    } else {
      const { extents } = holding;
      growing -= extents.size;
      extents.add({ ...found, modified });
      growing += extents.size;
      if (growing > MAX_GROWING) throw tooMany(target, MAX_GROWING, 'gaps between segments');
    }
  }
  counted(objects);
  for (const [cluster, holdings] of clusters) {
    const sizes = [...holdings.values()].map(({ extents }) => extents.size).filter((size) => size > 0);
    const stretches = sizes.reduce((sum, size) => sum + size, 0);
    if (stretches > MAX_STRETCHES) throw tooMany(target, MAX_STRETCHES, 'gaps between segments');
    if (sizes.length > MAX_RUNS) throw tooMany(target, MAX_RUNS, 'run IDs with segments');
    if (stretches === 0) clusters.delete(cluster);
  }
  return clusters;
}

function tooMany({ shown }: BackupTarget, most: number, what: string): TargetError {
  return new TargetError(
    'TARGET_FAILED',
    `${shown} has more than ${most} ${what}: delete some by their names`,
  );
}

/**
 * @param known histories that need not be asked for
 * @returns the histories of all run IDs that have segments
 * @throws TargetError if a history cannot be told
 */
export async function historiesOf(
  target: BackupTarget,
  holdings: Holdings,
  known: readonly History[],
  call: TargetCall,
): Promise<readonly History[]> {
  const histories = [...known];
  const isKnown = new Set(known.map(({ runId }) => runId));
  for (const { runId, extents } of holdings.values()) {
    if (extents.size > 0 && !isKnown.has(runId)) histories.push(await historyIn(target, extents, call));
  }
  return histories;
}

/** A run ID has one lineage, so each of its segments tells it. */
async function historyIn(target: BackupTarget, extents: Extents, call: TargetCall): Promise<History> {
  const candidates = joined(extents.stretches)
    .map(({ last }) => last)
    .reverse();
  let damage: SegmentError | null = null;
  for (const segment of candidates.slice(0, MAX_ASKED)) {
    try {
      return historyOf(await headerIn(target, segment, call));
    } catch (error) {
      if (!(error instanceof SegmentError)) throw error;
      damage = error;
    }
  }
  const [{ name }] = candidates as [ListedSegment];
  throw new TargetError('TARGET_FAILED', `${target.shown}: ${name} is damaged: ${damage?.message}`);
}

/** @returns the stretches that a history has: its own bytes, and those of its ancestors up to where both share them */
export function stretchesOf(history: History, holdings: Holdings): readonly Stretch[] {
  return joined(
    sharesOf(history).flatMap((share) =>
      (holdings.get(share.runId)?.extents.stretches ?? [])
        .filter(({ from }) => from < share.validTo)
        .map((stretch) => ({ ...stretch, to: Math.min(stretch.to, share.validTo) })),
    ),
  );
}

/** @returns the bases of a history, by their offsets */
export function basesOf(history: History, holdings: Holdings): readonly DatedBase[] {
  return sharesOf(history)
    .flatMap((share) =>
      (holdings.get(share.runId)?.bases ?? []).filter(({ offset }) => offset <= share.validTo),
    )
    .sort((one, other) => one.offset - other.offset || one.at - other.at);
}
