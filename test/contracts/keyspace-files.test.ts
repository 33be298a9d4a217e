/** The files of a data folder and their fake keep the same promises. */
import assert from 'node:assert/strict';
import { openDataFolder } from '../../src/store/data-folder.ts';
import { FakeFiles } from '../simulation/fake-files.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';
import { describeKeyspaceFiles } from './keyspace-files.ts';
import { RUN_ID, START } from './keyspace-writer.ts';
import { simulated } from './simulated.ts';

const SETTINGS = {
  fsync: 'no',
  bootId: null,
  newRunId: () => RUN_ID,
  upstream: null,
  mayBeginAnew: true,
} as const;

describeKeyspaceFiles('a data folder', async (t) => {
  const folder = await openDataFolder(await temporaryFolder(t), SILENT, SETTINGS, (error) =>
    assert.fail(error),
  );
  t.after(() => folder.close());
  return { files: folder.files, keyspace: folder.keyspace, current: folder.state.keyspaceNumber };
});

describeKeyspaceFiles('the fake data folder', async (t) => {
  const { disk, process } = simulated(t);
  disk.putRow({ keyspaceNumber: 1 });
  disk.files.set(1, { position: START, entries: new Map() });
  const files = new FakeFiles(disk, process, (what) => assert.fail(what));
  return { files, keyspace: await files.open(1), current: 1 };
});
