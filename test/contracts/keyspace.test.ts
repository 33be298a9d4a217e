/** A keyspace file and its fake keep the same promises. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { KeyspaceFile } from '../../src/store/keyspace/keyspace-file.ts';
import { OpenFiles } from '../../src/store/open-files.ts';
import { FakeKeyspace } from '../simulation/fake-keyspace.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';
import { describeKeyspace } from './keyspace.ts';
import { START } from './keyspace-writer.ts';
import { simulated } from './simulated.ts';

describeKeyspace('a keyspace file', async (t) => {
  const path = join(await temporaryFolder(t), 'keyspace-1.db');
  const files = new OpenFiles(SILENT);
  t.after(() => files.close());
  return {
    open: () =>
      KeyspaceFile.open(path, existsSync(path) ? null : START, files, (error) => assert.fail(error)),
    loop: { monotonic: () => performance.now(), soon: (callback) => setImmediate(callback) },
  };
});

describeKeyspace('the fake keyspace file', async (t) => {
  const { disk, process } = simulated(t);
  disk.files.set(1, { position: START, entries: new Map() });
  return { open: async () => new FakeKeyspace(disk, process, 1, (what) => assert.fail(what)), loop: process };
});
