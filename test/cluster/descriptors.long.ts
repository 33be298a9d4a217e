/** A node that may open no more files, connections and threads: what needs one is 503, the rest goes on, and all is well later. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import test from 'node:test';
import { pidOf } from '../../bench/requests.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged, linkState, textOf } from '../support/cluster.ts';
import { type Answer, Connection, isProblem, json } from '../support/contract.ts';

/** Changes how many descriptors a running process may have. */
function allow(pid: number, descriptors: number): void {
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${descriptors}:`]);
}

function mostDescriptors(pid: number): number {
  return Number(/Max open files\s+(\d+)/.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]);
}

function hasPrlimit(): boolean {
  try {
    execFileSync('prlimit', ['--version']);
    return true;
  } catch {
    return false;
  }
}

/** Fewer than a node has open in any case. */
const FEW = 20;
/** What opens something when it is asked. */
const OPENING = ['/v1/export', '/v1/digest', '/docs/', '/openapi.json'];

test('a node without free file descriptors answers 503 to requests that need one, serves the others, and recovers', {
  skip: !hasPrlimit(),
}, async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  await linkState(replica, 'streaming');
  await master.client.set('k', 'v'.repeat(5_000));
  await converged(master, replica);
  const connection = new Connection(t, master);
  const ask = (path: string): Promise<Answer> => connection.send('GET', path);
  assert.equal((await ask('/healthz')).status, 200);
  const pid = pidOf(master);
  const before = mostDescriptors(pid);
  // The numbers below are taken, by what a node opens when it starts; or by these connections.
  allow(pid, FEW);
  const fillers = Array.from({ length: 30 }, () => connect(master.port, '127.0.0.1'));
  for (const socket of fillers) socket.on('error', () => undefined);
  try {
    await until('none is left', async () => (await ask('/v1/export')).status === 503);
    for (const path of OPENING) {
      const answer = await ask(path);
      assert.equal(answer.status, 503, path);
      assert.equal(json(answer).code, 'STORAGE_FAILED', path);
      assert.equal(json(answer).detail, 'no file descriptors are left', path);
      assert.equal(answer.headers['retry-after'], '1');
    }
    isProblem(await ask('/v1/export'), 503, 'STORAGE_FAILED');
    assert.equal((await connection.send('PUT', '/v1/keys/k', 'written')).status, 200);
    assert.equal((await ask('/v1/keys/k')).body.toString(), 'written');
    assert.equal((await ask('/v1/info')).status, 200);
    // The replica cannot come back now; nor does the node spin or end because it cannot take connections.
    link.cut();
    link.restore();
    for (let round = 0; round < 20; round += 1) assert.equal((await ask('/healthz')).status, 200);
  } finally {
    for (const socket of fillers) socket.destroy();
    allow(pid, before);
  }
  for (const path of OPENING) {
    await until(`${path} is well again`, async () => (await ask(path)).status === 200);
  }
  await linkState(replica, 'streaming');
  await converged(master, replica);
  assert.equal(await textOf(replica, 'k'), 'written');
});
