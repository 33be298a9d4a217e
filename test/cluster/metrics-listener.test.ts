/** The listener of `--metrics-listen` has a thread of its own, and behaves as the other listeners do. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Certificates, tlsFlags } from '../support/certificates.ts';
import { Cluster, linkState, samePosition } from '../support/cluster.ts';
import { scraped, valueIn } from '../support/exposition.ts';
import { exchanged, type RawAnswer, rawRequest } from '../support/raw-http.ts';
import { tlsCall, tlsOptions } from '../support/tls-call.ts';

const LISTEN = ['--metrics-listen', '127.0.0.1:0'];

function portOf({ metricsUrl }: ChildNode): number {
  return Number(new URL(metricsUrl ?? '').port);
}

async function asked(node: ChildNode, ...requests: readonly string[]): Promise<readonly RawAnswer[]> {
  return exchanged({ port: portOf(node) }, [requests.join('')]);
}

test('a page of another origin learns nothing from the listener for metrics, before and after a scrape', async (t) => {
  const node = await (await Cluster.create(t)).start('node', ...LISTEN);
  const foreign = rawRequest('GET', '/metrics', '', 'Sec-Fetch-Site: cross-site');
  const answers = await asked(
    node,
    foreign,
    rawRequest('GET', '/metrics'),
    foreign,
    rawRequest('GET', '/readyz', '', 'Sec-Fetch-Site: cross-site'),
  );
  assert.deepEqual(
    answers.map(({ status }) => status),
    [403, 200, 403, 403],
  );
});

test('requests to the listener for metrics are counted, and get lines in the access log', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'access.log');
  const node = await cluster.start('node', ...LISTEN, '--access-log', file);
  const { position } = await node.client.set('a', '1');
  // What nothing is asked of the node for has the position of the last second.
  assert.equal(
    (await asked(node, rawRequest('GET', '/metrics')))[0]?.headers.get('psync-position'),
    position,
  );
  const answers = await asked(
    node,
    rawRequest('GET', '/metrics'),
    rawRequest('GET', '/v1/keys/a'),
    rawRequest('POST', '/metrics', 'x'),
    rawRequest('OPTIONS', '/metrics'),
    rawRequest('GET', '/healthz').replace('localhost', 'evil.example'),
    rawRequest('GET', '/readyz?maxLag=x'),
    rawRequest('GET', '/readyz'),
    rawRequest('GET', '/healthz', '', 'Connection: close'),
  );
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 404, 405, 204, 403, 400, 200, 200],
  );
  assert.equal(answers[2]?.headers.get('allow'), 'GET, HEAD, OPTIONS');
  for (const { headers } of answers) {
    assert.equal(headers.get('psync-position'), position);
    assert.equal(headers.get('psync-role'), 'master');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.equal(headers.get('cross-origin-resource-policy'), 'same-origin');
  }
  await until('all requests are counted', async () => {
    const found = await scraped(node.url);
    const count = (route: string, method: string, code: string): number | undefined =>
      valueIn(found, 'psyncd_http_requests_total', { route, method, code });
    const counts = [
      count('/metrics', 'GET', '200'),
      count('unknown', 'GET', '404'),
      count('/metrics', 'POST', '405'),
      count('/metrics', 'OPTIONS', '204'),
      count('/healthz', 'GET', '403'),
      count('/readyz', 'GET', '400'),
      count('/readyz', 'GET', '200'),
      count('/healthz', 'GET', '200'),
    ];
    if (counts.includes(undefined)) return null;
    // A scrape of this wait, on the main listener, has the same route.
    assert.deepEqual(counts.slice(1), [1, 1, 1, 1, 1, 1, 1]);
    return counts;
  });
  await until('the lines are written', () => {
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    const paths = lines.map((line) => JSON.parse(line) as { path: string; status: number; bytes: number });
    const statuses = paths.filter(({ path }) => path !== '/v1/keys/{key}').map(({ status }) => status);
    return [200, 204, 400, 403, 404, 405].every((status) => statuses.includes(status)) ? paths : null;
  });
});

test('a probe of the listener for metrics learns at once that a replica is cut off', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked([], LISTEN);
  await samePosition(master, replica);
  assert.equal((await asked(replica, rawRequest('GET', '/readyz')))[0]?.status, 200);
  link.cut();
  await linkState(replica, 'waiting');
  const [answer] = await asked(replica, rawRequest('GET', '/readyz'));
  assert.equal(answer?.status, 503);
  assert.equal(JSON.parse(answer?.body ?? '').code, 'LOADING');
  assert.equal((await asked(replica, rawRequest('GET', '/readyz?role=replica&maxLag=1h')))[0]?.status, 200);
});

test('a node stops although somebody keeps connections to its listener for metrics', async (t) => {
  const node = await (await Cluster.create(t)).start('node', ...LISTEN);
  const [idle, half] = [0, 1].map(() => connect(portOf(node), '127.0.0.1').on('error', () => undefined));
  t.after(() => {
    idle?.destroy();
    half?.destroy();
  });
  half?.write('GET /metrics HTTP/1.1\r\n');
  idle?.write(rawRequest('GET', '/metrics'));
  await new Promise((resolve) => idle?.once('data', resolve));
  assert.equal(await node.stop(), 0);
});

test('with --tls-client-auth required the listener for metrics refuses strangers, and says so in the log', async (t) => {
  const certificates = await Certificates.create(t);
  const [server, prometheus] = [certificates.make('server'), certificates.make('prometheus')];
  const node = await (await Cluster.create(t)).start(
    'node',
    ...tlsFlags(server),
    '--tls-client-ca',
    certificates.path('ca.crt'),
    '--tls-client-auth',
    'required',
    ...LISTEN,
  );
  const ca = certificates.path('ca.crt');
  const { status } = await tlsCall(node.metricsUrl ?? '', { ca, pair: prometheus });
  assert.equal(status, 200);
  certificates.ca('other');
  const stranger = certificates.make('stranger', { ca: 'other' });
  for (const pair of [undefined, stranger]) {
    const socket = connectTls({ port: portOf(node), ...tlsOptions({ ca, pair }) });
    await new Promise((resolve) => socket.on('error', () => undefined).once('close', resolve));
  }
  await until('the refusal is logged', () => node.log.includes('tls-client-refused') || null);
});

test('a taken address for metrics stops the start with one line', async (t) => {
  const cluster = await Cluster.create(t);
  const first = await cluster.start('first', ...LISTEN);
  await assert.rejects(
    cluster.start('second', '--metrics-listen', `127.0.0.1:${portOf(first)}`),
    new RegExp(`port ${portOf(first)} on 127.0.0.1 is taken; choose another with --metrics-listen`),
  );
});

test('a scrape that gets the last text has the same headers as others, and is counted', async (t) => {
  const node = await (await Cluster.create(t)).start('node', ...LISTEN);
  const scrape = async () => {
    const answer = await fetch(node.metricsUrl ?? '');
    return {
      names: [...answer.headers.keys()],
      type: answer.headers.get('content-type'),
      body: await answer.text(),
    };
  };
  const first = await scrape();
  let [last, count] = [first, 1];
  // After some dozens at once the node makes no more texts for a while.
  for (let isKept = false; !isKept; count += 1) {
    const next = await scrape();
    isKept = next.body === last.body;
    last = next;
  }
  assert.deepEqual(new Set(last.names), new Set(first.names));
  assert.equal(last.type, first.type);
  await until('all are counted', async () => {
    const labels = { route: '/metrics', method: 'GET', code: '200' };
    return (valueIn(await scraped(node.url), 'psyncd_http_requests_total', labels) ?? 0) >= count || null;
  });
});
