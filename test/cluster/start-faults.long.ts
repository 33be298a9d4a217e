/**
 * Starts that fail: whatever a start touches fails once, in each way in which a disk or the system can. The start says so in
 * one line; the next one finds the same role, upstream, history and data. Many starts, so they happen in this process.
 */
import assert from 'node:assert/strict';
import { cp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { App } from '../../src/app.ts';
import { loadSettings } from '../../src/settings/load.ts';
import type { FaultPoint } from '../../src/store/fault-point.ts';
import { StartError } from '../../src/store/start-error.ts';
import { Cluster, converged, temporaryFolder, writeMany } from '../support/cluster.ts';
import { SILENT } from '../support/silent-log.ts';

type Faults = Readonly<Record<string, string>>;

const CODES = ['SQLITE_FULL', 'SQLITE_IOERR_WRITE', 'ENOSPC', 'EIO', 'EMFILE', 'EACCES'];

interface Starter {
  readonly folder: string;
  start(faults: Faults, ...flags: readonly (readonly [string, string])[]): Promise<App>;
  /** The points that a start reaches. */
  traced(...flags: readonly (readonly [string, string])[]): Promise<ReadonlySet<FaultPoint>>;
}

async function starter(t: TestContext): Promise<Starter> {
  const folder = await temporaryFolder(t);
  const faultsFile = join(folder, 'faults.json');
  // It is looked at when the module is loaded, and by each thread.
  process.env.PSYNCD_FAULTS = faultsFile;
  const { start } = await import('../../src/app.ts');
  const data = join(folder, 'node');
  const apps = new Set<App>();
  // Else a failed test would leave this process running.
  t.after(() => Promise.allSettled([...apps].map((app) => app.close())));
  const begin: Starter['start'] = async (faults, ...flags) => {
    await writeFile(faultsFile, JSON.stringify(faults));
    const given = { port: '0', data, ...Object.fromEntries(flags) };
    const app = await start(loadSettings(given, {}, null), SILENT, () => undefined);
    apps.add(app);
    return {
      ...app,
      close: async () => {
        if (apps.delete(app)) await app.close();
      },
    };
  };
  return {
    folder: data,
    start: begin,
    traced: async (...flags) => {
      const trace = join(folder, 'trace');
      await writeFile(trace, '');
      const app = await begin({ trace }, ...flags);
      const points = (await readFile(trace, 'utf8')).trim().split('\n') as FaultPoint[];
      await app.close();
      return new Set(points);
    },
  };
}

/** What must be the same whatever has failed. */
async function state({ node }: App): Promise<object> {
  const { role, runId, lineage, kept } = node.status;
  const { keys, digest } = await node.digest();
  return { role, runId, lineage, kept, upstream: node.upstream, keys, digest };
}

/** The folder of a replica that was killed: 40 entries, some in the journal only, and a kept file. */
async function killedReplica(t: TestContext, to: string): Promise<void> {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica');
  await replica.client.set('own', 'data');
  await writeMany(master, 'k', 20);
  await replica.client.replicaOf(master.wsUrl);
  await converged(master, replica);
  await writeMany(master, 'l', 20);
  await converged(master, replica);
  await replica.stop('SIGKILL');
  await master.stop('SIGKILL');
  await cp(cluster.data('replica'), to, { recursive: true });
  // As if it had been killed before it gave the replaced file its name, and while a snapshot arrived.
  const replaced = (await readdir(to)).find((name) => name.startsWith('replaced-')) ?? '';
  await rename(join(to, replaced), join(to, 'keyspace-1.db'));
  await writeFile(join(to, 'keyspace-9.db'), 'half a snapshot');
}

test('when a replica fails to start, one line says why, and its role, upstream, history and data stay', async (t) => {
  const template = join(await temporaryFolder(t), 'template');
  await killedReplica(t, template);
  const { folder, start, traced } = await starter(t);
  const reset = async (): Promise<void> => {
    await rm(folder, { recursive: true, force: true });
    await cp(template, folder, { recursive: true });
  };
  for (const [turn, fsync] of (['always', 'everysec'] as const).entries()) {
    const flags = [
      ['fsync', fsync],
      ['onDamage', 'resync'],
    ] as const;
    await reset();
    const points = await traced(...flags);
    assert.ok(points.size >= 11, [...points].join());
    const healthy = await start({}, ...flags);
    const expected = await state(healthy);
    await healthy.close();
    for (const [index, point] of [...points].entries()) {
      // Four of the codes at each point; the next point has others.
      for (const step of [0, 1]) {
        const code = CODES[(index + 2 * turn + step) % CODES.length] as string;
        await reset();
        const what = `${code} at ${point}, ${fsync}`;
        let failed: unknown = null;
        const app = await start({ [point]: code }, ...flags).catch((error: unknown) => {
          failed = error;
          return null;
        });
        // What is done in the background, or for tidiness, does not keep it from starting.
        await app?.close();
        if (failed !== null) {
          assert.ok(
            failed instanceof StartError,
            `${what}: ${failed instanceof Error ? failed.stack : failed}`,
          );
          assert.doesNotMatch(failed.message, /\n|damaged/, what);
        }
        assert.deepEqual(
          (await readdir(folder)).filter((name) => name.startsWith('damaged-')),
          [],
          what,
        );
        const again = await start({});
        assert.deepEqual(await state(again), expected, what);
        await again.close();
      }
    }
  }
});
