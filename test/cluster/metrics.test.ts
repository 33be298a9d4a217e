/** `/metrics` of real nodes: what is counted, who may see it, and that nothing counts backwards. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { METRICS } from '../../src/metrics/list.ts';
import { Certificates, tlsFlags } from '../support/certificates.ts';
import { Cluster, linkState, samePosition, writeMany } from '../support/cluster.ts';
import { parsed, type Scraped, scraped, valueIn } from '../support/exposition.ts';
import { NO_PROMTOOL, promtool } from '../support/promtool.ts';
import { exchanged, rawRequest } from '../support/raw-http.ts';
import { tlsCall } from '../support/tls-call.ts';

const KEYS = '/v1/keys/{key}';

test('a master and a replica publish exactly the documented metrics, each series with its cluster', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked(['--cluster', 'shop'], ['--cluster', 'shop']);
  await master.client.set('a', '1');
  await samePosition(master, replica);
  for (const { url } of [master, replica]) {
    const { metrics, series } = await scraped(url);
    const kinds = new Map(METRICS.map(({ name, kind }) => [name, kind]));
    assert.deepEqual(metrics, kinds);
    for (const { name, labels } of series) assert.equal(labels.cluster, 'shop', name);
  }
  const [above, below] = [await scraped(master.url), await scraped(replica.url)];
  assert.equal(valueIn(above, 'psyncd_role', { role: 'master' }), 1);
  assert.equal(valueIn(below, 'psyncd_role', { role: 'replica' }), 1);
  assert.equal(valueIn(above, 'psyncd_writable'), 1);
  assert.equal(valueIn(below, 'psyncd_writable'), 0);
  assert.equal(valueIn(below, 'psyncd_upstream_up'), 1);
  assert.equal(valueIn(below, 'psyncd_lag_seconds'), 0);
  assert.equal(valueIn(below, 'psyncd_upstream_offset_bytes'), valueIn(above, 'psyncd_offset_bytes'));
  assert.equal(valueIn(above, 'psyncd_upstream_offset_bytes'), undefined);
  assert.equal(valueIn(above, 'psyncd_replica_lag_bytes', { replica: replica.wsUrl }), 0);
  assert.equal(valueIn(above, 'psyncd_replica_state', { replica: replica.wsUrl, state: 'online' }), 1);
  assert.equal(valueIn(above, 'psyncd_offset_bytes'), valueIn(below, 'psyncd_offset_bytes'));
  assert.equal(valueIn(above, 'psyncd_node_info', { name: master.wsUrl, role: 'master' }), 1);
});

test("Prometheus' own checker finds nothing wrong with what nodes publish", {
  skip: NO_PROMTOOL,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked(['--cluster', 'shop']);
  await master.client.set('a', '1');
  await samePosition(master, replica);
  for (const { url } of [master, replica]) {
    const { text } = await scraped(url);
    assert.deepEqual(promtool(['check', 'metrics'], text), { status: 0, output: '' });
  }
});

test('requests are counted by their route on both HTTP paths, whatever becomes of them', async (t) => {
  const node = await (await Cluster.create(t)).start('node', '--max-connections', '500');
  const send = (method: string, target: string, body = '', ...headers: string[]) =>
    exchanged(node, [rawRequest(method, target, body, ...headers)]);
  await send('PUT', '/v1/keys/a', 'x');
  await send('PUT', '/v1/keys/a', 'x');
  await send('PUT', '/v1/keys/b?ttl=60', 'x');
  await send('GET', '/v1/keys/a');
  await send('GET', '/v1/keys/a?timeout=1');
  await send('GET', '/v1/keys/nobody');
  await send('GET', '/v1/keys/nobody/increment');
  await fetch(`${node.url}/v1/keys/a`, { method: 'HEAD' });
  await send('POST', '/v1/keys/n/increment', '{}', 'Content-Type: application/json');
  await send('DELETE', '/v1/nothing/here');
  await send('OPTIONS', '/v1/keys/a');
  await send('PUT', '/v1/keys', 'x');
  await send('TRACE', '/v1/keys/a');
  await exchanged(node, ['GET /v1/keys/a HTTP/1.1\r\nHost: evil.example\r\n\r\n']);
  await exchanged(node, [rawRequest('GET', '/v1/changes', '', 'Upgrade: websocket', 'Connection: Upgrade')]);
  const found = await scraped(node.url);
  const count = (route: string, method: string, code: string): number | undefined =>
    valueIn(found, 'psyncd_http_requests_total', { route, method, code });
  for (const [route, method, code, expected] of [
    [KEYS, 'PUT', '201', 2],
    [KEYS, 'PUT', '200', 1],
    [KEYS, 'GET', '200', 2],
    [KEYS, 'GET', '404', 2],
    [KEYS, 'GET', '403', 1],
    [KEYS, 'HEAD', '200', 1],
    [KEYS, 'OPTIONS', '204', 1],
    [`${KEYS}/increment`, 'POST', '200', 1],
    ['unknown', 'DELETE', '404', 1],
    ['/v1/keys', 'PUT', '405', 1],
    [KEYS, 'other', '405', 1],
    ['/v1/changes', 'GET', '426', 1],
  ] as const) {
    assert.equal(count(route, method, code), expected, `${method} ${route} ${code}`);
  }
  const took = (method: string): number | undefined =>
    valueIn(found, 'psyncd_http_request_duration_seconds_count', { route: KEYS, method });
  assert.deepEqual([took('GET'), took('PUT')], [5, 3]);
  assert.equal(valueIn(found, 'psyncd_writes_total', { kind: 'set' }), 3);
  assert.equal(valueIn(found, 'psyncd_writes_total', { kind: 'increment' }), 1);
});

test('a client that hangs up before its answer is counted without a code', async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const socket = connect(node.port, '127.0.0.1');
  socket.write(rawRequest('PUT', '/v1/keys/a').replace('\r\n\r\n', '\r\nContent-Length: 9\r\n\r\nhalf'));
  // A later request shows that the node has read the first one.
  await node.client.set('b', '1');
  socket.destroy();
  await until('the request is counted', async () => {
    const labels = { route: KEYS, method: 'PUT', code: 'none' };
    return valueIn(await scraped(node.url), 'psyncd_http_requests_total', labels) === 1;
  });
});

/** Series that only grow: sums, and the parts of histograms. */
function growing({ metrics, series }: Scraped): ReadonlyMap<string, number> {
  const grows = series.filter(({ name }) => {
    const kind = metrics.get(name) ?? metrics.get(name.replace(/_(?:bucket|sum|count)$/, ''));
    return kind === 'counter' || kind === 'histogram';
  });
  return new Map(grows.map(({ name, labels, value }) => [`${name} ${JSON.stringify(labels)}`, value]));
}

test('nothing counts backwards over a partial and a full resync, on either side', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked(['--backlog-size', '16kb']);
  const last = new Map<ChildNode, ReadonlyMap<string, number>>();
  const look = async (): Promise<void> => {
    for (const node of [master, replica]) {
      const now = growing(await scraped(node.url));
      for (const [name, value] of last.get(node) ?? []) assert.ok((now.get(name) ?? -1) >= value, name);
      last.set(node, now);
    }
  };
  await master.client.set('first', '1');
  await samePosition(master, replica);
  await look();
  for (const [entries, value] of [
    [3, 'v'],
    [30, 'v'.repeat(1_000)],
  ] as const) {
    link.cut();
    await linkState(replica, 'waiting');
    await look();
    await writeMany(master, 'k', entries, value);
    link.restore();
    await samePosition(master, replica);
    await look();
  }
  // A busy machine may show a text that is a second old.
  const shown = (node: ChildNode, name: string): Promise<Scraped> =>
    until('the last resync is shown', async () => {
      const text = await scraped(node.url);
      const last = valueIn(text, name, { kind: 'full', reason: 'behind-backlog' });
      return last === undefined ? null : text;
    });
  const above = await shown(master, 'psyncd_resyncs_total');
  const below = await shown(replica, 'psyncd_upstream_resyncs_total');
  for (const [side, name] of [
    [above, 'psyncd_resyncs_total'],
    [below, 'psyncd_upstream_resyncs_total'],
  ] as const) {
    assert.equal(valueIn(side, name, { kind: 'partial' }), 1);
    assert.equal(valueIn(side, name, { kind: 'full', reason: 'first-sync' }), 1);
    assert.equal(valueIn(side, name, { kind: 'full', reason: 'behind-backlog' }), 1);
  }
  assert.equal(valueIn(above, 'psyncd_snapshot_seconds_count'), 2);
  assert.ok((valueIn(below, 'psyncd_link_failures_total', { reason: 'lost' }) ?? 0) >= 2);
});

test('a replica that is cut off has a lag, which ends when it has caught up', async (t) => {
  const cluster = await Cluster.create(t);
  const { master, link, replica } = await cluster.linked();
  const lag = async (): Promise<number> => valueIn(await scraped(replica.url), 'psyncd_lag_seconds') ?? -1;
  await samePosition(master, replica);
  assert.equal(await lag(), 0);
  link.cut();
  await until('the lag grows', async () => (await lag()) > 0.1);
  assert.equal(valueIn(await scraped(replica.url), 'psyncd_upstream_offset_bytes'), undefined);
  link.restore();
  await until('the lag has gone', async () => (await lag()) === 0);
});

test('metrics need their right, and on their own listener nobody needs a token', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  const make = async (right: 'read' | 'metrics'): Promise<string> =>
    (await createToken(file, { name: right, rights: [right], prefixes: null, expiresAt: null }, Date.now()))
      .text;
  const [reader, watcher] = [await make('read'), await make('metrics')];
  const node = await cluster.start('node', '--metrics-listen', '127.0.0.1:0');
  const status = async (url: string, token: string | null = null): Promise<number> => {
    const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
    return (await fetch(url, { headers })).status;
  };
  assert.equal(await status(`${node.url}/metrics`), 401);
  assert.equal(await status(`${node.url}/metrics`, reader), 403);
  assert.equal(await status(`${node.url}/metrics`, watcher), 200);
  const { metricsUrl } = node;
  assert.ok(metricsUrl !== null);
  const base = metricsUrl.replace(/\/metrics$/, '');
  const found = await scraped(base);
  assert.equal(valueIn(found, 'psyncd_auth_failures_total', { reason: 'missing' }), 1);
  assert.equal(await status(metricsUrl, 'no-token-at-all'), 200);
  for (const path of ['/healthz', '/readyz']) assert.equal(await status(`${base}${path}`), 200, path);
  for (const path of [
    '/v1/keys',
    '/v1/keys/a',
    '/v1/config',
    '/v1/info',
    '/docs',
    '/openapi.json',
    '/v1/changes',
  ]) {
    assert.equal(await status(`${base}${path}`, watcher), 404, path);
  }
  const foreign = await new Promise<number | undefined>((resolve, reject) => {
    request(metricsUrl, { headers: { host: 'evil.example' } }, ({ statusCode }) => resolve(statusCode))
      .on('error', reject)
      .end();
  });
  assert.equal(foreign, 403);
});

test('with a certificate the listener for metrics speaks TLS, and publishes when the certificate expires', async (t) => {
  const certificates = await Certificates.create(t);
  const pair = certificates.copy(certificates.make('first'), 'node');
  const cluster = await Cluster.create(t);
  const node = await cluster.start(
    'node',
    ...tlsFlags(pair),
    '--metrics-listen',
    '127.0.0.1:0',
    '--tls-reload-interval',
    '20ms',
  );
  const { metricsUrl } = node;
  assert.match(metricsUrl ?? '', /^https:/);
  const look = async (): Promise<Scraped> => {
    const { status, body } = await tlsCall(metricsUrl ?? '', { ca: certificates.path('ca.crt') });
    assert.equal(status, 200);
    return parsed(body);
  };
  const expiry = 'psyncd_tls_certificate_expiry_timestamp_seconds';
  const first = valueIn(await look(), expiry, { role: 'server' });
  assert.equal(first, new X509Certificate(readFileSync(pair.cert)).validToDate.getTime() / 1_000);
  certificates.copy(certificates.make('second', { toDays: 3 }), 'node');
  await until('the new certificate is published', async () => {
    const now = await look();
    return (
      valueIn(now, expiry, { role: 'server' }) !== first &&
      (valueIn(now, 'psyncd_tls_reloads_total', { result: 'used' }) ?? 0) >= 1
    );
  });
});

test('a node without tokens does not publish metrics to other machines unless it is told to', async (t) => {
  const cluster = await Cluster.create(t);
  await assert.rejects(
    cluster.start('node', '--metrics-listen', '0.0.0.0:0'),
    /--metrics-listen 0\.0\.0\.0 lets everybody in who can reach it/,
  );
  await assert.rejects(
    cluster.start('node', '--admin-listen', '127.0.0.1:7801', '--metrics-listen', '127.0.0.1:7801'),
    /--metrics-listen names the address of another listener/,
  );
});
