/** Every operation of openapi.yaml has a method of the client, which a real node answers, or a reason why it has none. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { until } from '../../src/cli/until.ts';
import { AdminClient } from '../../src/client/admin/admin-client.ts';
import type { ByteStream } from '../../src/client/platform.ts';
import { Cluster, linkState } from '../support/cluster.ts';
import { document, template } from '../support/contract.ts';

interface Nodes {
  readonly master: AdminClient;
  readonly masterUrl: string;
  readonly replica: AdminClient;
  /** A node with tokens. */
  readonly guarded: AdminClient;
}

/** By operation: calls it and checks the answer, or says why the client does not call it. */
const OPERATIONS: Readonly<Record<string, string | ((nodes: Nodes) => Promise<void>)>> = {
  putKey: async ({ master }) => {
    const options = { ttl: 1_000, ifAbsent: true, acks: 1, durable: true };
    const { created, acks, durable, position } = await master.set('k', 'väl', options);
    assert.deepEqual([created, acks, durable], [true, 1, true]);
    assert.equal(master.position, position);
    await assert.rejects(master.set('k', '', { ifAbsent: true }), { code: 'PRECONDITION_FAILED' });
    await master.set('bytes', new Uint8Array([0xff, 0]));
    await master.set('json', '{"a":1}');
  },
  getKey: async ({ master, replica }) => {
    const position = master.position ?? '';
    assert.deepEqual(await replica.get('bytes', { position }), new Uint8Array([0xff, 0]));
    assert.equal(await master.get('none'), null);
    const entry = await master.entry('k');
    assert.ok(entry?.expiresAt != null && entry.expiresAt > Date.now());
    assert.equal(entry.value, 'väl');
    const { version } = await master.set('k', entry.value, { ifVersion: entry.version });
    assert.deepEqual(await master.entry('k'), { key: 'k', value: 'väl', version, expiresAt: null });
    await assert.rejects(master.set('k', 'x', { ifVersion: entry.version }), ({ code, problem }) => {
      assert.deepEqual([code, problem.currentVersion], ['PRECONDITION_FAILED', version]);
      return true;
    });
    assert.deepEqual((await master.entry('bytes'))?.value, new Uint8Array([0xff, 0]));
    assert.equal(await master.entry('none'), null);
  },
  getSnapshot: 'a file for backups: curl downloads it, and resumes (docs/curl.md)',
  getSnapshotFile: 'a file for backups, as `getSnapshot`',
  headSnapshotFile: 'the headers of a file for backups, as `getSnapshot`',
  headKey: '`entry` reads the same headers, and `page({ prefix: key, limit: 1 })` has them without the value',
  patchKey: async ({ master }) => {
    await master.patch('json', { a: null, b: 'ü' }, { acks: 1 });
    assert.equal((await master.entry('json'))?.value, '{"b":"ü"}');
  },
  incrementKey: async ({ master }) => {
    assert.equal((await master.increment('n', '41', { acks: 1 })).acks, 1);
    assert.equal((await master.increment('n')).value, 42);
  },
  appendToKey: async ({ master }) => {
    assert.equal((await master.append('log', 'ü', { acks: 1 })).size, 2);
  },
  setExpiry: async ({ master }) => {
    const expiresAt = Date.now() + 100_000;
    assert.equal((await master.expire('k', { expiresAt }, { acks: 1 }))?.expiresAt, expiresAt);
    assert.ok(((await master.expire('k', { ttl: 1 }))?.expiresAt ?? 0) < expiresAt);
    assert.equal(await master.expire('none', { ttl: 1 }), null);
  },
  deleteExpiry: async ({ master }) => {
    assert.equal((await master.expire('k', null))?.expiresAt, null);
    assert.equal(await master.expire('none', null), null);
  },
  batch: async ({ master }) => {
    const position = master.position ?? '';
    const { results, acks } = await master.batch([{ op: 'get', key: 'n' }], { acks: 1, position });
    assert.deepEqual([results[0]?.value, acks], ['42', 1]);
  },
  listKeys: async ({ master, replica }) => {
    const keys = ['a/ü +&', 'a/1', 'a/2', 'a/😀', 'a/\uffff'];
    for (const key of keys) await master.set(key, key);
    const position = master.position ?? '';
    const found: string[] = [];
    for await (const { key, value } of replica.entries({ prefix: 'a/', limit: 2, position })) {
      assert.equal(value, key);
      found.push(key);
    }
    const inOrder = keys.toSorted((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
    assert.deepEqual(found, inOrder);
    const rest: string[] = [];
    for await (const { key } of master.entries({ prefix: 'a/', after: 'a/2' })) rest.push(key);
    assert.deepEqual(rest, inOrder.slice(2));
    const { keys: page, next } = await master.page({ prefix: 'a/ü +', limit: 1 });
    assert.deepEqual([page.map(({ key, size }) => [key, size]), next], [[['a/ü +&', 7]], null]);
    for await (const { key } of master.entries({ prefix: 'none' })) assert.fail(key);
    for await (const { value } of master.entries({ prefix: 'bytes' })) {
      assert.deepEqual(value, new Uint8Array([0xff, 0]));
    }
  },
  deleteKey: async ({ master }) => {
    assert.deepEqual([await master.delete('log', { acks: 1 }), await master.delete('log')], [true, false]);
  },
  exportEntries: async ({ master, replica }) => {
    const { position, lines } = await replica.export('a/ü', { position: master.position ?? '' });
    assert.match(position, /^[0-9a-f]{40}:\d+$/);
    assert.equal((JSON.parse(await new Response(lines).text()) as { key: string }).key, 'a/ü +&');
  },
  getDiff: async ({ master, replica }) => {
    const { position: from } = await master.set('d1', 'x');
    const { position: to } = await master.set('d2', 'x');
    const { changes, next } = await replica.diff({ from, to, prefix: 'd', limit: 10 }, { position: to });
    assert.deepEqual([changes.map(({ key }) => key), next], [['d2'], null]);
    await assert.rejects(master.diff({ from: `${'0'.repeat(40)}:1` }), ({ code, problem }) => {
      assert.deepEqual([code, typeof problem.window?.from], ['POSITION_LOST', 'string']);
      return true;
    });
  },
  importEntries: async ({ master }) => {
    assert.equal((await master.import('{"key":"i1","value":"x"}\n', { acks: 1 })).imported, 1);
    const { lines } = await master.export('i');
    assert.equal((await master.import(lines)).imported, 1);
    const broken = master.import(new Blob(['{"key":"i2","value":"x"}\nno JSON\n']).stream() as ByteStream);
    await assert.rejects(broken, ({ code, problem }) => {
      assert.deepEqual([code, problem.line, problem.imported], ['BAD_LINE', 2, 1]);
      return true;
    });
  },
  deleteKeys: async ({ master }) => {
    assert.equal((await master.deletePrefix('a/', { acks: 1 })).deleted, 5);
    await assert.rejects(master.deletePrefix(''), { code: 'BAD_REQUEST' });
    assert.equal((await master.deleteAll({ acks: 1 })).deleted, null);
    assert.equal((await master.digest()).keys, 0);
  },
  followChanges: '`follow` and `mirror` follow the changes over a WebSocket',
  getReplication: async ({ master, replica }) => {
    const roles = await Promise.all([master, replica].map(async (node) => (await node.replication()).role));
    assert.deepEqual(roles, ['master', 'replica']);
  },
  checkPosition: async ({ master }) => {
    const { position, historyHash } = await master.replication();
    assert.equal((await master.check(position, historyHash)).decision, 'continue');
  },
  getSessions: async ({ master }) => {
    assert.equal((await master.sessions()).sessions[0]?.open, true);
  },
  endSession: async ({ master }) => {
    const { id = '' } = (await master.sessions()).sessions.find(({ open }) => open) ?? {};
    assert.deepEqual(await master.endSession(id), { id, ended: true });
    await assert.rejects(master.endSession(id), { code: 'NOT_FOUND' });
    await until('the replica is back', async () => {
      const { replicas } = await master.replication();
      return replicas.some(({ state }) => state === 'online');
    });
  },
  holdWrites: async ({ master }) => {
    assert.ok((await master.holdWrites(60_000)).remainingMs > 50_000);
  },
  getWriteHold: async ({ master }) => {
    assert.ok((await master.writeHold()).remainingMs > 50_000);
  },
  releaseWrites: async ({ master }) => {
    assert.equal((await master.releaseWrites()).remainingMs, 0);
  },
  getBacklog: async ({ master }) => {
    assert.equal((await master.backlog(120)).advice.awaySeconds, 120);
  },
  getDigest: async ({ replica, masterUrl }) => {
    const { equal } = await replica.digest({ against: masterUrl, waitMs: 20_000 });
    assert.equal(equal, true);
  },
  getInfo: async ({ master }) => {
    assert.match(await master.info(), /^role:master\r?$/m);
  },
  getConfig: async ({ master }) => {
    assert.equal((await master.config()).fsync, 'everysec');
  },
  changeConfig: async ({ master }) => {
    assert.equal((await master.changeConfig({ backlogSize: '2mb' })).backlogSize, 2 * 1024 ** 2);
    await assert.rejects(master.changeConfig({ backlogSize: 'x' }), { code: 'BAD_REQUEST' });
  },
  getHealth: async ({ master }) => {
    assert.deepEqual(await master.health(), { status: 'ok' });
  },
  getReadiness: async ({ master }) => {
    assert.deepEqual(await master.readiness(), { status: 'ready' });
    assert.deepEqual(await master.readiness({ role: 'master', maxLag: '5s' }), { status: 'ready' });
    await assert.rejects(master.readiness({ role: 'replica' }), { code: 'LOADING' });
  },
  getMetrics: async ({ master }) => {
    assert.match(await master.metrics(), /^psyncd_role\{role="master"\} 1$/m);
  },
  acceptEmptyMaster: async ({ replica }) => {
    await assert.rejects(replica.acceptEmptyMaster(), { code: 'NOTHING_GUARDED' });
  },
  resetCounters: async ({ master }) => {
    assert.ok((await master.resetCounters()).countersResetAt !== null);
  },
  abortFailover: async ({ master }) => {
    await assert.rejects(master.abortFailover(), { code: 'FAILOVER_REFUSED' });
  },
  failover: async ({ master, replica }) => {
    assert.match((await master.failover(undefined, 20_000)).master, /^ws:/);
    assert.equal((await replica.replication()).role, 'master');
  },
  deleteUpstream: async ({ master }) => {
    assert.equal((await master.promote()).role, 'master');
  },
  setUpstream: async ({ replica, masterUrl }) => {
    const { upstream } = await replica.replicaOf(masterUrl.replace('http', 'ws'));
    assert.equal(upstream?.url, masterUrl.replace('http', 'ws'));
  },
  listTokens: async ({ guarded }) => {
    const { tokens } = await guarded.tokens();
    assert.deepEqual(
      tokens.map(({ name }) => name),
      ['admin'],
    );
  },
  createToken: async ({ guarded }) => {
    const { token, rights } = await guarded.createToken({ name: 'other', rights: ['read'] });
    assert.deepEqual([token?.startsWith('psyncd_'), rights], [true, ['read']]);
  },
  revokeToken: async ({ guarded }) => {
    const { tokens } = await guarded.tokens();
    const id = tokens.find(({ name }) => name === 'other')?.id ?? '';
    assert.deepEqual(await guarded.revokeToken(id), { id, revoked: true });
    await assert.rejects(guarded.revokeToken('none'), { code: 'NOT_FOUND' });
  },
};

/** Adds the operation IDs of all requests to the returned set. */
function watchOperations(t: TestContext): Set<string> {
  const called = new Set<string>();
  const { fetch } = globalThis;
  globalThis.fetch = (input, init) => {
    const method = (init?.method ?? 'GET').toLowerCase();
    const { pathname } = new URL(String(input));
    const operation = document.paths[template(method, pathname)]?.[method];
    if (operation !== undefined) called.add(operation.operationId);
    return fetch(input, init);
  };
  t.after(() => {
    globalThis.fetch = fetch;
  });
  return called;
}

test('every operation of openapi.yaml has a method that a node answers, or a reason', async (t) => {
  const all = Object.values(document.paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId }) => operationId),
  );
  assert.deepEqual(Object.keys(OPERATIONS).sort(), all.sort());
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked();
  const wanted = { name: 'admin', rights: ['admin'], prefixes: null, expiresAt: null } as const;
  const { text: token } = await createToken(cluster.data('guarded/tokens.json'), wanted, Date.now());
  const guarded = await cluster.start('guarded');
  await linkState(replica, 'streaming');
  const called = watchOperations(t);
  const nodes = {
    master: new AdminClient(master.url),
    masterUrl: master.url,
    replica: new AdminClient(replica.url),
    guarded: new AdminClient(guarded.url, { token: async () => token }),
  };
  for (const [operation, call] of Object.entries(OPERATIONS)) {
    if (typeof call === 'string') {
      assert.ok(call.length > 20, operation);
      continue;
    }
    called.delete(operation);
    await t.test(operation, () => call(nodes));
    assert.ok(called.has(operation), `${operation} was not called`);
  }
});
