/** Nodes of different versions: a snapshot of a schema that the replica does not know is refused by the master. */
import assert from 'node:assert/strict';
import { rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { plant } from '../simulation/plant.ts';
import { Cluster, converged, counters, linkState, textOf, writeMany } from '../support/cluster.ts';

/** The class of nodes that run a psyncd whose keyspace files have a schema that is one newer. */
async function newerPsyncd(t: TestContext): Promise<typeof ChildNode> {
  const folder = await plant({
    name: 'the next schema',
    in: 'schemaVersion',
    find: 'migrations[kind].at(-1)?.number ?? 0',
    replace: "(migrations[kind].at(-1)?.number ?? 0) + (kind === 'keyspace' ? 1 : 0)",
  });
  t.after(() => rm(folder, { recursive: true, force: true }));
  await symlink(fileURLToPath(new URL('../../migrations', import.meta.url)), join(folder, 'migrations'));
  const { ChildNode: Newer } = await import(join(folder, 'src', 'cli', 'child-node.ts'));
  return Newer as typeof ChildNode;
}

test('a replica of another schema goes on with the stream; a snapshot is refused before anything is sent, and both sides say why', async (t) => {
  const Newer = await newerPsyncd(t);
  let newer: ChildNode | null = null;
  t.after(() => newer?.stop('SIGKILL'));
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await writeMany(master, 'k', 5);
  await converged(master, replica);
  await replica.stop();
  newer = await Newer.start(['--data', cluster.data('replica'), '--port', '0'], {});
  await master.client.set('after', 'the upgrade');
  await converged(master, newer);
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });

  await newer.client.promote();
  await newer.client.set('own', 'data');
  await newer.client.replicaOf(master.wsUrl);
  const { upstream } = await linkState(newer, 'refused');
  const why =
    /SCHEMA a full resync is needed, but the master's keyspace has schema (\d+), the replica's (\d+): upgrade the older one/;
  const [, theirs, own] = why.exec(upstream?.detail ?? '') ?? [];
  assert.equal(Number(own), Number(theirs) + 1, upstream?.detail);
  await until('the log says why', () => why.test(newer?.log ?? ''));
  assert.equal(await textOf(newer, 'own'), 'data');
  const { sessions } = (await (await fetch(`${master.url}/v1/replication/sessions`)).json()) as {
    sessions: { events: { event: string; fields: Record<string, string> }[] }[];
  };
  const [refusal] = sessions.flatMap(({ events }) => events.filter(({ event }) => event === 'refused'));
  assert.equal(refusal?.fields.reason, 'unknown-run-id');
  assert.match(refusal?.fields.answer ?? '', why);
  await until('the log says why', () => why.test(master.log));
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 });
  assert.equal(await newer.stop(), 0);

  const same = await cluster.start('replica');
  await converged(master, same);
  assert.equal(await textOf(same, 'own'), null);
});
