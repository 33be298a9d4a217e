/** What a target lists is read up to a bound. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Catalogue } from '../../src/archive/catalogue.ts';
import type { BackupTarget, TargetObject } from '../../src/node/ports/backup-target.ts';

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

const noBase = (): Promise<never> => Promise.reject(new Error('a backup was asked for'));

test('a target that lists without an end is given up, and the message says what to do', async () => {
  const { signal } = new AbortController();
  for (const [cluster, advice] of [
    [null, /more than 1000 objects: name the archive with --cluster/],
    ['shop', /more than 1000 objects: delete old segments/],
  ] as const) {
    const asked = { count: 0 };
    const read = Catalogue.read(endless(asked), cluster, '/nowhere', signal, noBase, 1_000);
    await assert.rejects(read, (error: Error) => error.name === 'ArchiveError' && advice.test(error.message));
    assert.equal(asked.count, 1_001);
  }
});
