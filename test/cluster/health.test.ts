/** `/readyz` as balancers ask it, and the level of the log while a node runs. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { WebSocket } from 'ws';
import { until } from '../../src/cli/until.ts';
import { Cluster, linkState, samePosition } from '../support/cluster.ts';

const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

interface Told {
  readonly status: number;
  readonly detail: string;
}

async function ready(url: string, query: string): Promise<Told> {
  const answer = await fetch(`${url}/readyz${query}`);
  const { detail = '' } = (await answer.json()) as { readonly detail?: string };
  // A balancer that asks with HEAD sees the same.
  assert.equal((await fetch(`${url}/readyz${query}`, { method: 'HEAD' })).status, answer.status, query);
  return { status: answer.status, detail };
}

test('a balancer finds the master and the replicas by their role and lag', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  await samePosition(master, replica);
  for (const [url, query, status] of [
    [master.url, '', 200],
    [master.url, '?role=master', 200],
    [master.url, '?role=any', 200],
    [master.url, '?role=master&maxLag=0s', 200],
    [master.url, '?role=replica', 503],
    [replica.url, '', 200],
    [replica.url, '?role=replica', 200],
    [replica.url, '?role=replica&maxLag=5s', 200],
    [replica.url, '?maxLag=1mb', 200],
    [replica.url, '?role=master', 503],
  ] as const) {
    assert.equal((await ready(url, query)).status, status, `${url}${query}`);
  }
  assert.match((await ready(replica.url, '?role=master')).detail, /the role of this node is replica/);

  link.cut();
  await linkState(replica, 'waiting');
  assert.equal((await ready(replica.url, '')).status, 503);
  assert.equal((await ready(replica.url, '?maxLag=1h')).status, 200);
  const { status, detail } = await ready(replica.url, '?maxLag=1ms');
  assert.equal(status, 503);
  assert.match(detail, /up to [\d.]+ seconds behind/);
  assert.match((await ready(replica.url, '?maxLag=1gb')).detail, /nobody knows how many bytes/);
});

test('a replica that has never reached its master is not ready, however much lag is allowed', async (t) => {
  const cluster = await Cluster.create(t);
  const gone = await cluster.start('gone');
  await gone.stop();
  const replica = await cluster.start('replica', '--replica-of', gone.wsUrl);
  const { status, detail } = await ready(replica.url, '?maxLag=9999h');
  assert.equal(status, 503);
  assert.match(detail, /has not caught up with this master/);
});

test('a question that is mistyped is never answered as if the node were ready', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  for (const query of [
    '?rle=master',
    '?role=Master',
    '?role=',
    '?role=master&role=replica',
    '?maxlag=5s',
    '?maxLag=5',
    '?maxLag=',
    '?maxLag=s',
    '?maxLag=-5s',
    '?maxLag=5 s',
    '?maxLag=5S',
    '?maxLag=1e3s',
    '?maxLag=5tb',
    '?maxLag=0x10b',
    '?maxLag=5s&maxLag=1mb',
    '?maxLag[]=5s',
    '?x',
  ]) {
    assert.equal((await ready(node.url, query)).status, 400, query);
  }
});

test('the level of the log changes while the node runs, and debug has a line for each request with its trace', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'access.log');
  const node = await cluster.start('node', '--access-log', file, '--log-level', 'warn');
  const setLevel = async (logLevel: string): Promise<number> => {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ logLevel });
    return (await fetch(`${node.url}/v1/config`, { method: 'PATCH', headers, body })).status;
  };
  const put = (key: string, traceparent: string): Promise<Response> =>
    fetch(`${node.url}/v1/keys/${key}`, { method: 'PUT', body: 'x', headers: { traceparent } });
  await put('before', TRACE);
  assert.equal(node.log, '');
  assert.equal(await setLevel('verbose'), 400);
  assert.equal(await setLevel('debug'), 200);
  await put('during', TRACE);
  await put('odd', `${TRACE}"}`);
  const socket = new WebSocket(`${node.url.replace('http', 'ws')}/v1/changes`, 'psync.v1.json', {
    headers: { traceparent: TRACE },
  });
  await once(socket, 'open');
  socket.terminate();
  const refused = new WebSocket(`${node.url.replace('http', 'ws')}/v1/changes`, {
    headers: { traceparent: TRACE },
  });
  await once(refused, 'error');
  const opened = await until('there are the lines of both WebSockets', () => {
    const found = node.log.split('\n').filter((line) => line.includes('"path":"/v1/changes"'));
    return found.length === 2 && found.map((line) => JSON.parse(line) as Record<string, unknown>);
  });
  assert.deepEqual(
    opened.map(({ msg, status, traceparent }) => [msg, status, traceparent]),
    [
      ['websocket-opened', 101, TRACE],
      ['request', 400, TRACE],
    ],
  );
  const lines = await until('there are the lines of both requests', () => {
    const found = node.log
      .split('\n')
      .filter((line) => line.includes('"method":"PUT"'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    return found.length === 2 && found;
  });
  const shown = lines.map(({ msg, path, status, traceparent }) => [msg, path, status, traceparent]);
  assert.deepEqual(shown, [
    ['request', '/v1/keys/{key}', 201, TRACE],
    ['request', '/v1/keys/{key}', 201, undefined],
  ]);
  assert.doesNotMatch(node.log, /during|odd/);
  assert.equal(await setLevel('error'), 200);
  const length = node.log.length;
  await put('after', TRACE);
  const traced = await until('the access log has all requests', () => {
    const found = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"method":"PUT"'));
    return found.length === 4 && found;
  });
  assert.deepEqual(
    traced.map((line) => line.includes(TRACE)),
    [true, true, false, true],
  );
  // The answer to the change is logged after the change.
  assert.equal(node.log.slice(length).includes('"method":"PUT"'), false);
});
