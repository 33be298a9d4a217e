/** Finds what the archives in a target need, and deletes segments that nothing needs. */
import { setImmediate as turn } from 'node:timers/promises';
import type { ArchiveNeeds, ArchiveNeedsRequest, DeleteSegments } from '../../node/ports/archive-needs.ts';
import {
  type BackupTarget,
  lookAtBackup,
  type TargetCall,
  TargetError,
} from '../../node/ports/backup-target.ts';
import type { History } from '../../replication/history.ts';
import type { ListedSegment } from '../coverage.ts';
import { parseArchived } from '../names.ts';
import { SKIPPABLE } from '../segment.ts';
import { type DatedBase, type Holdings, historiesOf, holdingsIn, MAX_OBJECTS } from './holdings.ts';
import { LastBytes } from './last-bytes.ts';
import { Needs } from './needs.ts';
import { withoutStandIn } from './stand-ins.ts';

/** Number of bytes that tell whether a file is a segment. */
const MAGIC_BYTES = 4;
/** Most files with the names of bases that may be none. */
const MAX_FOREIGN = 16;
/** Part of the most objects from which on a node warns. */
const NEARLY = 0.8;
/** Number of segments that are deleted at a time. */
const AT_A_TIME = 8;

/** @see ArchiveNeedsOf */
export async function archiveNeeds(request: ArchiveNeedsRequest): Promise<ArchiveNeeds> {
  const clusters = new Map<string | null, Needs>();
  const { target, folder, horizon, call } = request;
  let objects = 0;
  const counted = (count: number): void => {
    objects = count;
  };
  const held = await holdingsIn(target, folder, call, { horizon, counted });
  const lastBytes = await LastBytes.of(target, folder, call, held, null);
  for (const [cluster, holdings] of held) {
    clusters.set(cluster, await needsOf(holdings, lastBytes.get(cluster) as LastBytes, request));
  }
  return {
    isNearlyTooMuch: objects >= MAX_OBJECTS * NEARLY,
    neededOf: (names) => neededOf(clusters, request, names),
    deleteSegments: (wanted) => deleteSegments(clusters, request, wanted),
  };
}

/** @returns those of some backups that the archives need */
async function neededOf(
  clusters: ReadonlyMap<string | null, Needs>,
  request: ArchiveNeedsRequest,
  names: readonly string[],
): Promise<ReadonlySet<string>> {
  const needed = new Set(names.filter((name) => [...clusters.values()].some(({ bases }) => bases.has(name))));
  const others = new Set(names.filter((name) => !needed.has(name)));
  for (const [cluster, { spared }] of clusters) {
    for (const name of await withoutStandIn({ ...request, turn }, cluster, spared, others)) needed.add(name);
  }
  return needed;
}

/** What lets others be deleted has to be a whole backup, whatever its name says. */
async function needsOf(
  holdings: Holdings,
  lastBytes: LastBytes,
  { target, horizon, own, backupLength, call }: ArchiveNeedsRequest,
): Promise<Needs> {
  const histories = await historiesOf(target, holdings, knownBy(own), call);
  const checked = new Set<string>();
  let present = holdings;
  for (let foreign = 0; foreign <= MAX_FOREIGN; foreign += 1) {
    const needs = await Needs.of(histories, present, horizon, own?.runId ?? null, lastBytes, turn);
    const wrong = await firstThatIsNone([...needs.firsts, ...needs.bases.values()], checked, async (base) => {
      return (await lookAtBackup(target, base, backupLength, call)) === 'whole';
    });
    if (wrong === null) return needs;
    present = without(present, wrong);
  }
  const what = `${target.shown} has more than ${MAX_FOREIGN} files that have the names of backups and are no whole ones`;
  throw new TargetError('TARGET_FAILED', `${what}: nothing is deleted`);
}

/** @returns the histories that a node knows: its own, and those that it has grown out of */
function knownBy(own: History | null): readonly History[] {
  if (own === null) return [];
  const { lineage } = own;
  return [own, ...lineage.map(({ runId }, index) => ({ runId, lineage: lineage.slice(index + 1) }))];
}

async function firstThatIsNone(
  bases: readonly DatedBase[],
  checked: Set<string>,
  isOne: (base: DatedBase) => Promise<boolean>,
): Promise<DatedBase | null> {
  for (const base of bases) {
    if (checked.has(base.name)) continue;
    if (!(await isOne(base))) return base;
    checked.add(base.name);
  }
  return null;
}

function without(holdings: Holdings, { runId, name }: DatedBase): Holdings {
  const holding = holdings.get(runId);
  if (holding === undefined) return holdings;
  const bases = holding.bases.filter((base) => base.name !== name);
  return new Map(holdings).set(runId, { ...holding, bases });
}

async function deleteSegments(
  clusters: ReadonlyMap<string | null, Needs>,
  { target, folder, call }: ArchiveNeedsRequest,
  { isDry, most, mayDelete }: DeleteSegments,
): Promise<number> {
  if (clusters.size === 0) return 0;
  let deleted = 0;
  const batch: ListedSegment[] = [];
  const flush = async (): Promise<void> => {
    const done = await Promise.all(
      batch.splice(0).map(async ({ name }) => {
        const begin = await begunAs(target, name, MAGIC_BYTES, call);
        if (begin === null || begin.length < MAGIC_BYTES) return false;
        if (Buffer.from(begin).readUInt32LE(0) !== SKIPPABLE) return false;
        if (!isDry) await target.delete(name, call);
        return true;
      }),
    );
    deleted += done.filter(Boolean).length;
  };
  for await (const { name, modified } of target.list(folder, call)) {
    const found = parseArchived(name);
    if (found?.kind !== 'segment') continue;
    const segment = { ...found, modified };
    const isOver = clusters.get(found.cluster)?.isOver(segment) === true;
    if (!isOver || !mayDelete({ runId: found.runId, offset: found.end })) continue;
    batch.push(segment);
    if (batch.length === AT_A_TIME) await flush();
    if (deleted + batch.length >= most) break;
  }
  await flush();
  return deleted;
}

/** @returns the begin of an object; null: it is not there any more @throws TargetError */
async function begunAs(
  target: BackupTarget,
  name: string,
  length: number,
  call: TargetCall,
): Promise<Uint8Array | null> {
  try {
    return await target.begin(name, length, call);
  } catch (error) {
    if (error instanceof TargetError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}
