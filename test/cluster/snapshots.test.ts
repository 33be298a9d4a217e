/** Snapshots to download: whole keyspace files of one position, which can be resumed, and are never another one's bytes. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import type { Right } from '../../src/access/right.ts';
import { createToken, revokeToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { readPosition } from '../../src/store/keyspace/keyspace-schema.ts';
import { byteProxy } from '../support/byte-proxy.ts';
import { Cluster, temporaryFolder, writeMany } from '../support/cluster.ts';
import { Connection, type Headers, isProblem } from '../support/contract.ts';
import { FaultyDisk } from '../support/faulty-disk.ts';
import {
  begun,
  filled,
  metric,
  opened,
  parts,
  placeOf,
  readAll,
  sha256Of,
} from '../support/snapshot-downloads.ts';

const run = promisify(execFile);

test('under writers each download has exactly the entries of the position in its URL, twice the same bytes, and the digest that it names', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--apply-interval', '5ms');
  const versions = new Map<string, number>();
  let stopped = false;
  const writers = Array.from({ length: 3 }, async (_, writer) => {
    for (let count = 0; !stopped; count += 1) {
      const key = `w${writer}/${count}`;
      const { position } = await node.client.set(key, 'v'.repeat(1 + ((count * 977) % 5_000)));
      versions.set(key, Number(position.split(':')[1]));
    }
  });
  const downloads: { place: string; bytes: Buffer }[] = [];
  const connection = new Connection(t, node);
  for (let round = 0; round < 6; round += 1) {
    await until('something was written', () => versions.size > 40 * (round + 1));
    const place = await placeOf(t, node);
    const [first, second] = [await connection.send('GET', place), await connection.send('GET', place)];
    assert.equal(Buffer.compare(first.body, second.body), 0);
    assert.equal(first.headers['content-length'], String(first.body.length));
    const { sha256, runId, offset } = parts(place);
    assert.equal(sha256Of(first.body), sha256);
    const digest = Buffer.from(sha256, 'hex').toString('base64');
    assert.equal(first.headers['repr-digest'], `sha-256=:${digest}:`);
    assert.equal(first.headers.etag, `"${runId}/${offset}"`);
    assert.equal(first.headers['psync-position'], `${runId}:${offset}`);
    downloads.push({ place, bytes: first.body });
  }
  stopped = true;
  await Promise.all(writers);
  for (const { place, bytes } of downloads) {
    const { runId, offset } = parts(place);
    const expected = [...versions].filter(([, version]) => version <= offset).map(([key]) => key);
    await opened(t, bytes, (db) => {
      assert.deepEqual(readPosition(db), { runId, offset });
      const found = db.prepare('SELECT key FROM entries ORDER BY key').pluck().all();
      assert.deepEqual(found, expected.sort());
    });
  }
});

test('a download that was cut continues with curl -C -, and what it has then is the whole snapshot', async (t) => {
  const { node } = await filled(t);
  const place = await placeOf(t, node);
  const limits: (number | null)[] = [400_000, 1_500_000, 900_000, null];
  const proxy = await byteProxy(t, node.port, () => limits.shift() ?? null);
  const file = join(await temporaryFolder(t), 'backup.db');
  const url = proxy.wsUrl.replace('ws:', 'http:') + place;
  const sizes: number[] = [];
  for (let attempt = 0; attempt < 4; attempt += 1) {
    const { code } = await run('curl', ['-sS', '-f', '-C', '-', '-o', file, url]).then(
      () => ({ code: 0 }),
      (error: { code: number }) => error,
    );
    // 18: the transfer broke off.
    assert.equal(code, attempt < 3 ? 18 : 0);
    sizes.push((await stat(file)).size);
    await node.client.set('meanwhile', String(attempt));
  }
  assert.deepEqual(
    sizes,
    sizes.toSorted((a, b) => a - b),
  );
  assert.equal(proxy.breaks, 3);
  assert.equal(sha256Of(await readFile(file)), parts(place).sha256);
  assert.ok((await metric(node, 'psyncd_snapshots_sent_bytes_total')) > 5_000_000);
});

test('what a client asks about a snapshot is answered as RFC 9110 says', async (t) => {
  const { node } = await filled(t);
  const place = await placeOf(t, node);
  const { path, runId, offset, sha256 } = parts(place);
  const etag = `"${runId}/${offset}"`;
  const connection = new Connection(t, node);
  const send = (headers: Headers, method = 'GET') => connection.send(method, place, undefined, headers);
  const { body: whole, headers: described } = await send({});
  const { length } = whole;
  for (const [range, start, end] of [
    ['bytes=0-0', 0, 0],
    ['bytes=100000-', 100_000, length - 1],
    ['bytes=-7', length - 7, length - 1],
    ['bytes=1000000-2000000', 1_000_000, 2_000_000],
  ] as const) {
    for (const condition of [
      {},
      { 'if-range': etag },
      { 'if-match': etag },
      { 'if-match': `"x", ${etag}` },
    ]) {
      const { status, headers, body } = await send({ range, ...condition });
      assert.equal(status, 206);
      assert.equal(headers['content-range'], `bytes ${start}-${end}/${length}`);
      assert.equal(headers['content-length'], String(end + 1 - start));
      assert.equal(Buffer.compare(body, whole.subarray(start, end + 1)), 0);
      // Of the whole, so that a client can check what it has put together.
      assert.equal(headers['repr-digest'], described['repr-digest']);
    }
  }
  for (const headers of [
    { range: 'bytes=5-', 'if-range': '"other/17"' },
    { range: 'bytes=5-', 'if-range': `W/${etag}` },
    { range: 'bytes=5-', 'if-range': 'Sun, 29 Nov 2026 03:38:17 GMT' },
    { range: 'bytes=5-6,100-200' },
    { range: 'lines=5-6' },
    { 'if-none-match': '"other/17"' },
  ]) {
    const { status, body } = await send(headers);
    assert.deepEqual([status, body.length], [200, length], JSON.stringify(headers));
  }
  for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
    const { status, headers } = await send({ 'if-none-match': known, range: 'bytes=5-' });
    assert.deepEqual([status, headers.etag, headers['content-range']], [304, etag, undefined]);
  }
  const beyond = await send({ range: `bytes=${length}-` });
  isProblem(beyond, 416, 'RANGE_NOT_SATISFIABLE');
  assert.equal(beyond.headers['content-range'], `bytes */${length}`);
  isProblem(await send({ 'if-match': '"other/17"' }), 412, 'PRECONDITION_FAILED');
  isProblem(await send({ 'if-match': `W/${etag}` }), 412, 'PRECONDITION_FAILED');
  isProblem(await send({ 'if-none-match': 'no quotes' }), 400, 'BAD_REQUEST');
  const head = await send({ range: 'bytes=5-' }, 'HEAD');
  assert.deepEqual([head.status, head.body.length], [200, 0]);
  for (const name of [
    'content-length',
    'content-type',
    'etag',
    'repr-digest',
    'accept-ranges',
    'content-disposition',
  ]) {
    assert.equal(head.headers[name], described[name], name);
  }
  assert.equal(described['cache-control'], 'private, immutable');
  assert.equal(described['content-type'], 'application/vnd.sqlite3');
  assert.match(
    String(described['content-disposition']),
    /^attachment; filename="psyncd-[0-9a-f]{40}-\d+\.db"$/,
  );
  // The same path without the hash is what the node has now; with another one it is something that the node does not have.
  assert.equal((await connection.send('GET', path)).body.length, length);
  const other = sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  for (const gone of [
    `${path}?sha256=${other}`,
    `/v1/snapshots/${runId}/${offset + 1}`,
    `/v1/snapshots/${'0'.repeat(40)}/${offset}`,
  ]) {
    const answer = await connection.send('GET', gone, undefined, { range: 'bytes=5-' });
    isProblem(answer, 410, 'POSITION_LOST', /start the download anew/);
    assert.equal(answer.headers['cache-control'], 'no-store');
  }
  for (const malformed of [
    '/v1/snapshots/x/1',
    `/v1/snapshots/${runId}/-1`,
    `/v1/snapshots/${runId}/1e3`,
    `${path}?sha256=x`,
    `${path}?x=1`,
  ]) {
    isProblem(await connection.send('GET', malformed), 400, 'BAD_REQUEST');
  }
});

test('the end of one snapshot is not sent to who has the beginning of another one', async (t) => {
  const { node } = await filled(t);
  const connection = new Connection(t, node);
  const place = await placeOf(t, node);
  const { runId, offset } = parts(place);
  await node.client.set('more', 'v');
  const range = 'bytes=100-';
  const blind = await connection.send('GET', '/v1/snapshot', undefined, { range });
  isProblem(blind, 400, 'BAD_REQUEST', /resume at the URL to which this one has redirected/);
  // With If-Range the snapshot that is there now is sent whole.
  const conditions = { range, 'if-range': `"${runId}/${offset}"` };
  const { status, headers } = await connection.send('GET', '/v1/snapshot', undefined, conditions);
  assert.equal(status, 307);
  const { status: sent } = await connection.send('GET', String(headers.location), undefined, conditions);
  assert.equal(sent, 200);
  const begun = await connection.send('GET', '/v1/snapshot', undefined, { range: 'bytes=0-99' });
  assert.equal(begun.status, 307);
  // The ETag does not tell two files of one position apart, such as those of two nodes. Only a URL with the SHA-256 does.
  const now = parts(await placeOf(t, node));
  const etag = `"${now.runId}/${now.offset}"`;
  for (const condition of [
    { range, 'if-range': etag },
    { 'if-none-match': etag },
    { range: 'bytes=0-', 'if-range': etag },
    { range },
    { range: 'bytes=0-99' },
    { range: 'bytes=999999999-' },
  ]) {
    if ('if-range' in condition || 'if-none-match' in condition) {
      const redirect = await connection.send('GET', '/v1/snapshot', undefined, condition);
      assert.equal(redirect.headers.location, now.path);
    }
    const { status: whole, body } = await connection.send('GET', now.path, undefined, condition);
    assert.deepEqual([whole, sha256Of(body)], [200, now.sha256], JSON.stringify(condition));
  }
  const matched = await connection.send('GET', now.path, undefined, { range, 'if-match': etag });
  isProblem(matched, 412, 'PRECONDITION_FAILED', /sha256/);
});

test('two who ask at the same time share one snapshot; who names a position that it lacks gets a later one', async (t) => {
  const cluster = await Cluster.create(t);
  const disk = await FaultyDisk.create(cluster, 'node');
  const node = await disk.start(cluster, 'node');
  await writeMany(node, 'k', 20);
  await disk.fail({ 'copy-create': 'hold' });
  const asked = [placeOf(t, node), placeOf(t, node)];
  await until('it is being made', () => existsSync(join(cluster.data('node'), 'snapshots')));
  const { position } = await node.client.set('late', 'v');
  const third = placeOf(t, node, `?position=${position}`);
  const fourth = placeOf(t, node);
  await disk.mend();
  const [first = '', second] = await Promise.all(asked);
  assert.equal(first, second);
  const later = parts(await third);
  assert.ok(later.offset > parts(first).offset);
  assert.equal(`${later.runId}:${later.offset}`, position);
  assert.ok([first, await third].includes(await fourth));
  assert.equal(await placeOf(t, node), await third);
  assert.equal(await metric(node, 'psyncd_snapshots_made_total'), 2);
  assert.equal(await metric(node, 'psyncd_snapshots_kept'), 2);
  isProblem(await new Connection(t, node).send('GET', '/v1/snapshot?position=x'), 400, 'BAD_REQUEST');
  const unknown = `/v1/snapshot?position=${'0'.repeat(40)}:5`;
  isProblem(await new Connection(t, node).send('GET', unknown), 412, 'UNKNOWN_HISTORY');
});

test('a node behind a proxy that adds a path redirects relative to its own URL', async (t) => {
  const cluster = await Cluster.create(t);
  for (const [publicUrl, expected] of [
    ['https://kv.example/kv', /^snapshots\/[0-9a-f]{40}\/0\?sha256=/],
    ['https://kv.example', /^\/v1\/snapshots\/[0-9a-f]{40}\/0\?sha256=/],
  ] as const) {
    const node = await cluster.start(publicUrl.replace(/\W/g, ''), '--public-url', publicUrl);
    const place = await placeOf(t, node);
    assert.match(place, expected);
    const { pathname, search } = new URL(place, `${node.url}/v1/snapshot`);
    assert.equal((await new Connection(t, node).send('GET', pathname + search)).status, 200);
  }
});

test('a token for some keys gets no snapshot, and a download ends with its token', async (t) => {
  const cluster = await Cluster.create(t);
  const file = join(cluster.data('node'), 'tokens.json');
  await mkdir(cluster.data('node'));
  const make = async (rights: readonly Right[], prefixes: readonly string[] | null) =>
    await createToken(file, { name: 'test', rights, prefixes, expiresAt: null }, Date.now());
  const whole = await make(['replicate', 'write'], null);
  const metrics = await make(['metrics'], null);
  const limited = await make(['read', 'write'], ['k']);
  const node = await cluster.start('node');
  const connection = new Connection(t, node);
  const bearer = (token: { text: string }): Headers => ({ authorization: `Bearer ${token.text}` });
  for (let index = 0; index < 50; index += 1) {
    await connection.send('PUT', `/v1/keys/k${index}`, 'x'.repeat(100_000), bearer(whole));
  }
  const { headers } = await connection.send('GET', '/v1/snapshot', undefined, bearer(whole));
  const place = String(headers.location);
  for (const [method, path] of [
    ['GET', '/v1/snapshot'],
    ['GET', place],
  ] as const) {
    isProblem(await connection.send(method, path, undefined, bearer(limited)), 403, 'FORBIDDEN');
  }
  assert.equal((await connection.send('HEAD', place, undefined, bearer(limited))).status, 403);
  const download = await begun(t, node, place, bearer(whole));
  const hasEnded = async (): Promise<boolean> => {
    const { body } = await connection.send('GET', '/metrics', undefined, bearer(metrics));
    return /^psyncd_snapshots_downloads 0$/m.test(body.toString());
  };
  assert.ok(!(await hasEnded()));
  await revokeToken(file, whole.record.id);
  await until('it is cut', hasEnded);
  await assert.rejects(readAll(download));
});
