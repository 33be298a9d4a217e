/** How far an archive has a history, as a node asks at its start: by any list of a target, and within bounds. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Coverage } from '../../src/archive/coverage.ts';
import { type ArchivedObject, parseArchived, segmentName } from '../../src/archive/names.ts';
import { type ArchivedRequest, archivedUpTo } from '../../src/archive/resume.ts';
import { type BackupTarget, TargetError } from '../../src/node/ports/backup-target.ts';
import type { History } from '../../src/replication/history.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { seeded } from '../support/random.ts';

const [A, B, C] = [runId('a'), runId('b'), runId('c')];
const { signal } = new AbortController();

/** A target that lists names, and gives no object. @param asked gets the folders whose lists were asked for */
function listing(names: () => Iterable<string>, asked: string[] = []): BackupTarget {
  return {
    shown: 'the target',
    async *list(folder: string) {
      asked.push(folder);
      for (const name of names()) if (name.startsWith(`${folder}/`)) yield { name, size: 1_000, modified: 0 };
    },
    begin: () => Promise.reject(new TargetError('NO_ACCESS', 'only the list is given')),
  } as unknown as BackupTarget;
}

/** @returns what is asked of such a target, but for the history and the journal */
function request(...parts: Parameters<typeof listing>): Omit<ArchivedRequest, 'history' | 'least'> {
  return {
    target: listing(...parts),
    cluster: 'shop',
    backupLength: () => 1_000,
    signal,
    isOther: () => false,
  };
}

function baseName(run: string, at: number): string {
  return `shop/${run}/${at}-20261129T050000Z.db`;
}

test('the end of an archive is that of the segments after its bases, in whatever order they are listed', async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const below = (limit: number): number => Math.floor(random() * limit);
  for (let round = 0; round < 300; round += 1) {
    const history: History = {
      runId: B,
      lineage: [{ runId: A, validTo: offset(100 + below(200)), reason: 'promoted', at: 1 }],
    };
    const names = Array.from({ length: below(40) }, () => {
      const after = below(400);
      return segmentName('shop', random() < 0.5 ? A : B, after as Offset, (after + 1 + below(60)) as Offset);
    });
    for (let bases = below(5); bases > 0; bases -= 1)
      names.push(baseName(random() < 0.5 ? A : B, below(400)));
    const least = below(450);
    const found = await archivedUpTo({ ...request(() => names), history, least });
    const message = `seed ${seed}, round ${round}`;
    const objects = names.map((name) => parseArchived(name) as ArchivedObject);
    const coverage = new Coverage(
      history,
      objects.filter((each) => each.kind === 'segment'),
      objects.filter((each) => each.kind === 'base'),
    );
    const [newest] = coverage.bases;
    if (newest === undefined) {
      assert.equal(found, null, message);
      continue;
    }
    assert.equal(found?.farthest, coverage.reach(newest.offset), message);
    const ends = coverage.bases.map((base) => ({ at: base.offset, end: coverage.reach(base.offset) }));
    const oldest = ends.findLast(({ end }) => end >= least);
    assert.equal(found?.end?.offset, oldest?.end, message);
  }
});

test('only the lists of the run IDs of the history are asked for', async () => {
  const asked: string[] = [];
  const history: History = {
    runId: B,
    lineage: [{ runId: A, validTo: offset(100), reason: 'promoted', at: 1 }],
  };
  const names = [baseName(A, 0), segmentName('shop', A, offset(0), offset(100)), baseName(C, 500)];
  const found = await archivedUpTo({ ...request(() => names, asked), history, least: 50 });
  assert.deepEqual(asked, [`shop/${B}`, `shop/${A}`]);
  assert.deepEqual([found?.farthest, found?.end?.offset, found?.end?.hash], [100, 100, null]);
});

test('a list without an end, and one with too many gaps, are refused in one line', async () => {
  function* names(step: number): Generator<string> {
    for (let at = 0; ; at += step) yield segmentName('shop', A, at as Offset, (at + 1) as Offset);
  }
  const history: History = { runId: A, lineage: [] };
  const most = { objects: 20_000, parts: 5_000 };
  for (const [step, message] of [
    [1, /^the target has more than 20000 objects, of the run ID a{40} and its ancestors: delete old ones$/],
    [2, /^the target has more than 5000 gaps in its segments/],
  ] as const) {
    await assert.rejects(
      archivedUpTo({ ...request(() => names(step)), history, least: 0, most }),
      (error) => error instanceof TargetError && message.test(error.message),
    );
  }
});
