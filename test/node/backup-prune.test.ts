/** What is listed of a target that has very many backups. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { BackupTarget } from '../../src/node/ports/backup-target.ts';
import { scheduledName } from '../../src/node/upkeep/backup-names.ts';
import { backupsIn } from '../../src/node/upkeep/backup-prune.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const MOST = 50_000;

function targetWith(count: number): BackupTarget {
  return {
    shown: 'the target',
    async *list() {
      for (let at = 1; at <= count; at += 1) {
        yield {
          name: scheduledName('shop', { runId: runId('a'), offset: offset(at) }, 0),
          size: 1,
          modified: 0,
        };
      }
    },
  } as Partial<BackupTarget> as BackupTarget;
}

test('a target with too many backups is a failure of the target, in one line', async () => {
  assert.equal((await backupsIn(targetWith(MOST), '')).length, MOST);
  await assert.rejects(backupsIn(targetWith(MOST + 1), ''), {
    name: 'TargetError',
    code: 'TARGET_FAILED',
    message: /^the target has more than 50000 backups: .*$/,
  });
});
