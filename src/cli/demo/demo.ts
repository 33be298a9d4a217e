/**
 * `psyncd demo`: runs a master and two replicas as three processes and shows what they do. Every line with a check mark
 * is computed from positions, digests and counters that the nodes report.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ReplicaAnswer, ReplicationAnswer } from '../../client/rest.ts';
import { ChildNode } from '../child-node.ts';
import { CommandError } from '../command-error.ts';
import { count } from '../output/info.ts';
import { importStream } from '../tasks/import-file.ts';
import { until } from '../until.ts';
import { LinkProxy } from './link-proxy.ts';
import { loadPlaces } from './places.ts';

/** Number of writes while the link is cut that the backlog can hold. */
const SMALL_WRITES = 200;
/** Number of writes while the link is cut that exceed the backlog of 1 MiB. */
const LARGE_WRITES = 40;
const LARGE_VALUE = 'x'.repeat(64 * 1024);

interface Nodes {
  master: ChildNode;
  readonly near: ChildNode;
  /** Replica 2, which follows the master through `link`. */
  readonly far: ChildNode;
  readonly link: LinkProxy;
  readonly folder: string;
}

/**
 * @param once return after the last step instead of at Ctrl-C
 * @throws CommandError when a step did not happen as expected
 */
export async function demo(once: boolean): Promise<void> {
  const interrupted = signalled();
  const folder = await mkdtemp(join(tmpdir(), 'psyncd-demo-'));
  const started: ChildNode[] = [];
  let link: LinkProxy | null = null;
  try {
    await Promise.race([
      interrupted.then(() => {
        throw new CommandError('interrupted');
      }),
      (async () => {
        const master = await serve(started, join(folder, 'master'), []);
        link = await LinkProxy.to(master.port);
        const near = await serve(started, join(folder, 'replica-1'), ['--replica-of', master.wsUrl]);
        const far = await serve(started, join(folder, 'replica-2'), ['--replica-of', link.wsUrl]);
        const nodes: Nodes = { master, near, far, link, folder };
        say(`three processes: master ${master.url}, replicas ${near.url} and ${far.url}`);
        say(`three data folders in ${folder}\n`);
        await load(nodes);
        await cutAndContinue(nodes);
        await cutForTooLong(nodes);
        await restartMaster(nodes, started);
        say(`\nEverything was shown. The nodes ${once ? 'stop now' : 'stay up until Ctrl-C'}.`);
        if (!once) say(linesToTry(nodes));
      })(),
    ]);
    if (!once) await interrupted;
  } finally {
    await Promise.all(started.map((node) => node.stop()));
    await (link as LinkProxy | null)?.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function serve(started: ChildNode[], data: string, flags: readonly string[]): Promise<ChildNode> {
  const node = await ChildNode.start(['--port', '0', '--data', data, ...flags]);
  started.push(node);
  return node;
}

async function load(nodes: Nodes): Promise<void> {
  const places = loadPlaces();
  const startedAt = performance.now();
  const { imported } = await importStream(
    Readable.from(chunksOf(places.ndjson)),
    places.ndjson.length,
    nodes.master.url,
  );
  const seconds = (performance.now() - startedAt) / 1000;
  expect(imported === places.keys, `imported ${count(imported)} of ${count(places.keys)} ${places.name}`);
  done(`loaded ${count(imported)} ${places.name} in ${seconds.toFixed(1)} s`);
  const { keys, digest } = await converged(nodes);
  expect(keys === places.keys, `the nodes have ${count(keys)} keys, not ${count(places.keys)}`);
  done(`both replicas have the master's position and digest: ${count(keys)} keys, ${digest}`);
}

async function cutAndContinue(nodes: Nodes): Promise<void> {
  const { master, far, link } = nodes;
  const before = await master.client.replication();
  await cut(nodes);
  for (let index = 0; index < SMALL_WRITES; index += 1) {
    await master.client.set(`while-away/${index}`, `written while replica 2 was away: ${index}`);
  }
  const behind = (await master.client.replication()).offset - (await far.client.replication()).offset;
  expect(behind > 0, 'replica 2 is not behind, although its link is cut');
  link.restore();
  await converged(nodes);
  const after = await master.client.replication();
  const partial = after.counters.syncPartialOk - before.counters.syncPartialOk;
  const full = after.counters.syncFull - before.counters.syncFull;
  const session = await sessionOf(nodes, after);
  expect(partial === 1 && full === 0, `expected one partial resync, got ${partial}, and ${full} full ones`);
  expect(
    session.sync?.kind === 'partial' && session.sync.bytes === behind,
    'the bytes sent are not the bytes it lacked',
  );
  done(
    `cut replica 2 off, wrote ${SMALL_WRITES} entries, reconnected: partial resync, ${count(behind)} bytes sent`,
  );
}

async function cutForTooLong(nodes: Nodes): Promise<void> {
  const { master, far, link } = nodes;
  const before = await master.client.replication();
  await cut(nodes);
  for (let index = 0; index < LARGE_WRITES; index += 1) {
    await master.client.set(`large/${index}`, `${index} ${LARGE_VALUE}`);
  }
  const { backlog } = await master.client.replication();
  const behind = (await far.client.replication()).offset;
  expect(behind + 1 < backlog.firstOffset, 'the backlog still has what replica 2 lacks');
  const old = await far.client.get('while-away/0');
  expect(old !== null, 'replica 2 does not serve its old data while it is cut off');
  link.restore();
  await converged(nodes);
  const after = await master.client.replication();
  const full = after.counters.syncFull - before.counters.syncFull;
  const session = await sessionOf(nodes, after);
  const reason = session.sync?.reason;
  expect(full === 1 && session.sync?.kind === 'full', `expected one full resync, got ${full}`);
  expect(reason === 'behind-backlog', `expected the reason behind-backlog, got ${reason}`);
  done(
    `cut it off again, wrote ${count(LARGE_WRITES * LARGE_VALUE.length)} bytes, more than the backlog's ` +
      `${count(backlog.size)}: full resync, reason ${reason}, a snapshot of ${count(session.sync?.bytes ?? 0)} bytes`,
  );
}

async function restartMaster(nodes: Nodes, started: ChildNode[]): Promise<void> {
  const before = await nodes.master.client.replication();
  const { port } = nodes.master;
  const code = await nodes.master.stop();
  expect(code === 0, `the master ended with ${code}`);
  nodes.master = await ChildNode.start(['--port', String(port), '--data', join(nodes.folder, 'master')]);
  started.push(nodes.master);
  const after = nodes.master.ready;
  expect(after.runId === before.runId, `the run ID changed from ${before.runId} to ${after.runId}`);
  expect(after.offset === before.offset, `the offset changed from ${before.offset} to ${after.offset}`);
  await nodes.master.client.set('after-restart', 'written by the restarted master');
  await converged(nodes);
  const { counters, runId } = await nodes.master.client.replication();
  expect(
    counters.syncPartialOk === 2 && counters.syncFull === 0,
    `expected two partial resyncs, got ${counters.syncPartialOk}, and ${counters.syncFull} full ones`,
  );
  done(`restarted the master: still run ID ${runId}, both replicas continued with a partial resync`);
}

/** Cuts replica 2's link and waits until both ends have noticed. */
async function cut({ master, far, link }: Nodes): Promise<void> {
  link.cut();
  await until('both ends notice the cut', async () => {
    const [one, other] = await Promise.all([master.client.replication(), far.client.replication()]);
    return one.replicas.length === 1 && other.upstream?.state !== 'streaming';
  });
}

/** Waits until all three nodes have the same position, and compares their digests. */
async function converged({ master, near, far }: Nodes): Promise<{ keys: number; digest: string }> {
  const clients = [master.client, near.client, far.client];
  await until('the replicas reach the master', async () => {
    const positions = await Promise.all(clients.map(async (each) => (await each.replication()).position));
    return new Set(positions).size === 1;
  });
  const [first, ...others] = await Promise.all(clients.map((each) => each.digest()));
  if (first === undefined) throw new Error('no digest');
  for (const other of others) {
    expect(
      other.digest === first.digest && other.position === first.position,
      `the digests differ: ${first.digest} at ${first.position}, ${other.digest} at ${other.position}`,
    );
  }
  return first;
}

/** Finds replica 2 among the master's replicas. */
async function sessionOf({ far }: Nodes, { replicas }: ReplicationAnswer): Promise<ReplicaAnswer> {
  const session = replicas.find(({ url }) => url === far.wsUrl);
  if (session === undefined) throw new CommandError('the master does not list replica 2');
  return session;
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new CommandError(`✗ ${otherwise}`);
}

function done(what: string): void {
  say(`✓ ${what}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function* chunksOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

function signalled(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}

function linesToTry({ master, near, far }: Nodes): string {
  return [
    '',
    'Try:',
    `  curl ${near.url}/v1/keys/place/AD/Ordino`,
    `  curl -X PUT --data-binary 'hello' ${master.url}/v1/keys/greeting`,
    `  curl -i ${far.url}/v1/keys/greeting`,
    `  curl -L -X PUT --data-binary 'by way of a replica' ${near.url}/v1/keys/greeting`,
    `  curl '${near.url}/v1/keys?prefix=place/IS/&limit=3&values=true'`,
    `  curl ${master.url}/v1/replication`,
    `  curl ${master.url}/v1/digest ${near.url}/v1/digest ${far.url}/v1/digest`,
  ].join('\n');
}
