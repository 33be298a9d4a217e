/** psyncd.db and its fake keep the same promises. */
import { copyFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { OpenFiles } from '../../src/store/open-files.ts';
import { StateFile } from '../../src/store/state/state-file.ts';
import { FakeState } from '../simulation/fake-state.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';
import { simulated } from './simulated.ts';
import { describeStateStore, FIRST_RUN_ID } from './state-store.ts';

const UNWATCHED = { appended: () => undefined, saving: () => undefined, switching: () => undefined };

describeStateStore('psyncd.db', async (t) => {
  const path = join(await temporaryFolder(t), 'psyncd.db');
  const files = new OpenFiles(SILENT);
  t.after(() => files.close());
  return {
    open: ({ fsync, boot }) => {
      const settings = { fsync, bootId: boot, newRunId: () => FIRST_RUN_ID, upstream: null };
      return StateFile.open(path, SILENT, settings, files, () => undefined);
    },
    copy: async () => {
      await copyFile(path, `${path}.copy`);
      await rename(`${path}.copy`, path);
    },
  };
});

describeStateStore('the fake psyncd.db', async (t) => {
  const { disk, process } = simulated(t);
  return {
    open: ({ fsync, boot }) => new FakeState(disk, process, UNWATCHED, fsync, boot),
    copy: async () => disk.becomeCopy(),
  };
});
