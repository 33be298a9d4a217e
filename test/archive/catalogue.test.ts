/** What a target lists is read up to a bound, and in the memory that there is. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { boundsOf, Catalogue } from '../../src/archive/catalogue.ts';
import type { ListedBase, ListedSegment } from '../../src/archive/coverage.ts';
import { parseArchived, type SegmentName, segmentName } from '../../src/archive/names.ts';
import type { BackupTarget, TargetObject } from '../../src/node/ports/backup-target.ts';
import type { Ancestor, History } from '../../src/replication/history.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { seeded } from '../support/random.ts';

const [A, B] = [runId('a'), runId('b')];

/** A target that lists objects for as long as somebody asks. */
function endless(asked: { count: number }): BackupTarget {
  async function* list(): AsyncGenerator<TargetObject> {
    for (;;) {
      asked.count += 1;
      yield { name: `others/${asked.count}`, size: 1, modified: 1 };
    }
  }
  return { shown: 's3://backups', list } as Partial<BackupTarget> as BackupTarget;
}

/** A target that lists some objects. */
function listing(objects: readonly (string | TargetObject)[]): BackupTarget {
  async function* list(): AsyncGenerator<TargetObject> {
    for (const each of objects) yield typeof each === 'string' ? { name: each, size: 1, modified: 1 } : each;
  }
  return { shown: 's3://backups', list } as Partial<BackupTarget> as BackupTarget;
}

const noBase = (): Promise<never> => Promise.reject(new Error('a backup was asked for'));

test('a target that lists without an end is given up, and the message says what to do', async () => {
  const { signal } = new AbortController();
  const prune = 'delete old ones with psyncd backup prune s3://backups --keep RULES';
  const most = { objects: 1_000, kept: 1_000 };
  for (const [cluster, advice] of [
    [null, `more than 1000 objects: name the archive with --cluster, or ${prune}`],
    ['shop', `more than 1000 objects: ${prune}`],
  ] as const) {
    const asked = { count: 0 };
    const read = Catalogue.read(endless(asked), cluster, '/nowhere', signal, noBase, most);
    await assert.rejects(
      read,
      (error: Error) => error.name === 'ArchiveError' && error.message.endsWith(advice),
    );
    assert.equal(asked.count, 1_001);
  }
});

test('of run IDs that have only backups, those are not asked that a newer one names', async () => {
  const { signal } = new AbortController();
  const asked: string[] = [];
  const ofBase = async ({ runId: run }: ListedBase): Promise<History> => {
    asked.push(run);
    const lineage: Ancestor[] = [{ runId: A, validTo: offset(10), reason: 'promoted', at: 1 }];
    return { runId: run, lineage: run === B ? lineage : [] };
  };
  const names = [`shop/${A}/10-20261129T050000Z.db`, `shop/${B}/20-20261129T060000Z.db`];
  const catalogue = await Catalogue.read(listing(names), 'shop', '/nowhere', signal, ofBase);
  const { told, untold } = await catalogue.histories();
  assert.deepEqual([asked, told.map((each) => each.runId), untold], [[B], [B], []]);
});

test('an archive for which the process has too little memory is given up, and the message says how to get more', async () => {
  const most = boundsOf(64 * 1024);
  assert.deepEqual(most, { objects: 3_200_000, kept: 245 });
  const names = Array.from({ length: 246 }, (_, at) => segmentName('shop', A, offset(at), offset(at + 1)));
  const { signal } = new AbortController();
  const read = (count: number): Promise<Catalogue> =>
    Catalogue.read(listing(names.slice(0, count)), 'shop', '/nowhere', signal, noBase, most);
  assert.equal((await read(245)).runs.get(A)?.segments.length, 245);
  await assert.rejects(read(246), /more than 245 objects.*--max-old-space-size=814 .*psyncd backup prune/);
});

test('an archive has the segments that the target lists, in the order of the stream, whatever that of the list is', async (t) => {
  const { random, seed } = seeded();
  t.diagnostic(`seed ${seed}`);
  const { signal } = new AbortController();
  for (const cluster of ['shop', null]) {
    const listed = Array.from({ length: 300 }, (_, index) => {
      const after = Math.floor(random() * 2 ** 40);
      const end = after + 1 + Math.floor(random() * 1_000);
      const name = segmentName(cluster, index % 3 === 0 ? B : A, offset(after), offset(end));
      return { name, size: 100 + index, modified: 1_700_000_000_000 + index };
    });
    const catalogue = await Catalogue.read(listing(listed), cluster, '/nowhere', signal, noBase);
    for (const run of [A, B]) {
      const expected = listed
        .map(({ name, ...rest }) => ({ ...(parseArchived(name) as SegmentName), ...rest }))
        .filter((each) => each.runId === run)
        .sort((one, other) => one.after - other.after || one.end - other.end);
      const segments = catalogue.runs.get(run)?.segments;
      assert.deepEqual([...(segments ?? [])].map(plain), expected, `seed ${seed}`);
      assert.deepEqual(segments?.slice(-4).map(plain), expected.slice(-4));
      assert.deepEqual(plain(segments?.at(7) as ListedSegment), expected[7]);
    }
  }
});

/** @returns a segment with its values as members of its own */
function plain({ kind, name, cluster, runId: run, after, end, modified, size }: ListedSegment): unknown {
  return { kind, name, cluster, runId: run, after, end, modified, size };
}
