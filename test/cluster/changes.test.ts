/** The feed for followers, as docs/protocol.md has it: the same events and positions whoever asks, whom, and by which transport. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, converged } from '../support/cluster.ts';
import { type Answer, Connection, isProblem, json } from '../support/contract.ts';
import {
  bytesOf,
  type FeedEvent,
  type FollowOptions,
  offsetOf,
  TestFollower,
  TRANSPORTS,
  type Transport,
} from '../support/follower.ts';

const MIB = 1024 * 1024;

/** A master, its replica, and what writes to the master. */
interface Pair {
  readonly master: ChildNode;
  readonly replica: ChildNode;
  readonly http: Connection;
}

async function pair(t: TestContext, ...flags: string[]): Promise<Pair> {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master', ...flags);
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl, ...flags);
  await master.client.set('0', 'first');
  await converged(master, replica);
  return { master, replica, http: new Connection(t, master) };
}

function follow(t: TestContext, node: ChildNode, query = '', transport?: Transport): TestFollower {
  return TestFollower.follow(t, node.url, { query, ...(transport === undefined ? {} : { transport }) });
}

/** What an `await` in `Promise.all` does for each transport. */
function onAll<T>(body: (transport: Transport) => Promise<T>): Promise<T[]> {
  return Promise.all(TRANSPORTS.map(body));
}

async function position(node: ChildNode): Promise<string> {
  return (await node.client.replication()).position;
}

/** Where the answer's write ends. */
function written(answer: Answer): string {
  assert.ok(answer.status < 300, answer.body.toString());
  return String(json(answer).position);
}

/** What a poll that waits for nothing brings; of bookmarks at its end the last one. */
async function poll(
  t: TestContext,
  node: ChildNode,
  query: string,
  transport: Transport = 'ndjson',
): Promise<FeedEvent[]> {
  const follower = follow(t, node, `${query}&wait=0`, transport);
  const events = await follower.all();
  assert.ok(follower.ended?.isWhole, JSON.stringify(follower.ended));
  return events.filter(({ type }, index) => type !== 'bookmark' || index === events.length - 1);
}

/** The problem that is said before the stream, the same on every transport. */
async function refused(
  t: TestContext,
  node: ChildNode,
  options: FollowOptions,
  status: number,
  code: string,
  closeCode: number,
  detail = /./,
): Promise<void> {
  await onAll(async (transport) => {
    const follower = TestFollower.follow(t, node.url, { ...options, transport });
    const end = await follower.whenEnded();
    const what = `${transport} ${options.query} ${JSON.stringify(end)}`;
    if (transport === 'websocket') {
      const [event] = follower.received;
      assert.deepEqual([event?.type, event?.code, end.closeCode], ['error', code, closeCode], what);
      assert.match(String(event?.detail), detail);
      assert.equal(follower.received.length, 1);
      return;
    }
    // An EventSource gives up for good when it is answered with another status.
    if (transport === 'sse' && (status === 429 || status === 503)) {
      const [event] = follower.received;
      assert.deepEqual([end.status, end.isWhole, event?.type, event?.code], [200, true, 'error', code], what);
      assert.match(String(event?.detail), detail);
      assert.ok((follower.retryMs ?? 0) > 0, 'no retry');
      assert.equal(follower.received.length, 1);
      return;
    }
    assert.equal(end.status, status, what);
    const problem = JSON.parse(end.body) as { code: string; detail: string };
    assert.equal(problem.code, code, what);
    assert.match(problem.detail, detail);
  });
}

test('followers get the events of exactly their prefixes', async (t) => {
  const { master, replica, http } = await pair(t);
  const put = (key: string, value: Buffer | string, query = ''): Promise<Answer> =>
    http.send('PUT', `/v1/keys/${encodeURIComponent(key)}${query}`, value);

  await t.test(
    'events are the same, at the same positions, on every transport of master and replica',
    async (t) => {
      const start = await position(master);
      const followers = [master, replica].flatMap((node) =>
        TRANSPORTS.map((transport) => follow(t, node, `position=${start}&prefix=e/`, transport)),
      );
      await until('all have begun', () => followers.every(({ received }) => received.length > 0));
      const wanted: FeedEvent[] = [{ type: 'continue', position: start, head: start }];
      const later = Date.now() + 1_000_000;
      const version = (answer: Answer): number => offsetOf(written(answer));
      const set = async (key: string, value: string, expiresAt: number | null = null): Promise<void> => {
        const query = expiresAt === null ? '' : `?ttl=1000`;
        const answer = await put(key, value, query);
        wanted.push({
          type: 'set',
          key,
          value,
          encoding: 'utf8',
          version: version(answer),
          expiresAt: expiresAt === null ? null : Number(json(answer).expiresAt),
          position: written(answer),
        });
      };
      await set('e/1', 'one');
      await set('other', 'not of this prefix');
      wanted.pop();
      await set('e/2', '', later);
      const expiry = await http.sendJson('PUT', '/v1/keys/e/1/expiry', { expiresAt: later });
      wanted.push({ type: 'expiry', key: 'e/1', expiresAt: later, position: written(expiry) });
      const persist = await http.send('DELETE', '/v1/keys/e/1/expiry');
      wanted.push({ type: 'expiry', key: 'e/1', expiresAt: null, position: written(persist) });
      const count = await http.sendJson('POST', '/v1/keys/e/n/increment', { by: 41 });
      wanted.push({
        type: 'set',
        key: 'e/n',
        value: '41',
        encoding: 'utf8',
        version: version(count),
        expiresAt: null,
        position: written(count),
      });
      const batch = await http.sendJson('POST', '/v1/batch', {
        ops: [
          { op: 'set', key: 'e/b', value: 'AP8=', encoding: 'base64' },
          { op: 'set', key: 'o/b', value: 'x' },
          { op: 'delete', key: 'e/1' },
        ],
      });
      const [first] = json(batch).results as { version: number }[];
      wanted.push({
        type: 'batch',
        changes: [
          {
            type: 'set',
            key: 'e/b',
            value: 'AP8=',
            encoding: 'base64',
            version: Number(first?.version),
            expiresAt: null,
          },
          { type: 'delete', key: 'e/1' },
        ],
        position: written(batch),
      });
      const elsewhere = await http.sendJson('POST', '/v1/batch', {
        ops: [{ op: 'set', key: 'o', value: '' }],
      });
      written(elsewhere);
      const gone = await http.send('DELETE', '/v1/keys/e/n');
      wanted.push({ type: 'delete', key: 'e/n', position: written(gone) });
      const many = await http.send('DELETE', '/v1/keys?prefix=e/');
      wanted.push({
        type: 'batch',
        changes: [
          { type: 'delete', key: 'e/2' },
          { type: 'delete', key: 'e/b' },
        ],
        position: written(many),
      });
      const flush = await http.send('DELETE', '/v1/keys?all=true');
      wanted.push({ type: 'flush', position: written(flush) });
      for (const follower of followers) {
        const events = await follower.take(({ type }) => type === 'flush');
        assert.deepEqual(
          events.filter(({ type }) => type !== 'bookmark'),
          wanted,
          follower.transport,
        );
        follower.close();
      }
    },
  );

  await t.test(
    'a key that expires is a delete event when the master deletes it, and no event before',
    async (t) => {
      const followers = [
        follow(t, master, 'position=now&prefix=x/'),
        follow(t, replica, 'position=now&prefix=x/'),
      ];
      for (const follower of followers) await follower.to('continue');
      const { expiresAt, version } = json(await put('x/soon', 'v', '?ttl=0.05')) as Record<string, number>;
      for (const follower of followers) {
        const [set, gone] = await follower.changes(2);
        assert.deepEqual([set?.type, set?.expiresAt, set?.version], ['set', expiresAt, version]);
        assert.deepEqual([gone?.type, gone?.key], ['delete', 'x/soon']);
        assert.ok(Date.now() >= Number(expiresAt));
        follower.close();
      }
    },
  );

  await t.test(
    'events carry values that are empty, binary, or around the lengths of WebSocket frames',
    async (t) => {
      const followers = TRANSPORTS.map((transport) => follow(t, master, 'position=now&prefix=v', transport));
      for (const follower of followers) await follower.to('continue');
      const [probe] = await Promise.all([followers[0]?.changes(1), put('v', '')]);
      const around = JSON.stringify(probe?.[0]).length;
      for (const follower of followers.slice(1)) await follower.changes(1);
      // The positions and versions get longer now and then: so some more on both sides.
      const lengths = [125, 126, 65_535, 65_536].flatMap((bytes) =>
        [-12, -4, -3, -2, -1, 0, 1, 2].map((more) => Math.max(0, bytes - around + more)),
      );
      const values = [
        ...lengths.map((length) => Buffer.alloc(length, 'x')),
        Buffer.from([0, 255, 10, 13]),
        Buffer.from('\u0000\n\r\u2028"\\'),
        Buffer.from('ü😀\ufeff'),
      ];
      for (const value of values) written(await put('v', value));
      for (const follower of followers) {
        const events = await follower.changes(values.length);
        assert.deepEqual(events.map(bytesOf), values, follower.transport);
        follower.close();
      }
    },
  );

  await t.test(
    'an event carries 16 MiB that JSON makes six times as long, as a change and in a snapshot',
    async (t) => {
      const value = Buffer.alloc(16 * MIB, 1);
      const live = follow(t, master, 'position=now&prefix=large', 'websocket');
      await live.to('continue');
      const at = written(await put('large', value));
      const [change] = await live.changes(1);
      assert.ok(change !== undefined && bytesOf(change).equals(value));
      assert.equal(change.position, at);
      live.close();
      // The replica may have it later than a follower of the master.
      await converged(master, replica);
      const snapshot = follow(t, replica, 'prefix=large&wait=0', 'sse');
      // A slow machine says before that it is at work.
      const [reset, entry, synced] = (await snapshot.all()).filter(({ type }) => type !== 'waiting');
      assert.deepEqual([reset?.keys, entry?.key, synced?.type], [1, 'large', 'synced']);
      assert.ok(entry !== undefined && bytesOf(entry).equals(value));
      written(await http.send('DELETE', '/v1/keys/large'));
    },
  );

  await t.test(
    'an event reaches a follower whose prefixes overlap once, and no follower of other prefixes',
    async (t) => {
      const queries = [
        'prefix=p&prefix=pq&prefix=p',
        'prefix=pq&prefix=x',
        'prefix=p%F0%9F%98%80',
        'prefix=',
        '',
        // As axios writes a list.
        'prefix[]=p%F0%9F%98%80&prefix%5B%5D=x',
      ];
      const followers = queries.map((query) => follow(t, master, `position=now&${query}`));
      for (const follower of followers) await follower.to('continue');
      const keys = ['p', 'pq', 'pqr', 'p😀', 'p😁', 'x', 'y'];
      for (const key of keys) written(await put(key, key));
      const wanted = [
        ['p', 'pq', 'pqr', 'p😀', 'p😁'],
        ['pq', 'pqr', 'x'],
        ['p😀'],
        keys,
        keys,
        ['p😀', 'x'],
      ];
      written(await http.send('DELETE', '/v1/keys?all=true'));
      for (const [index, follower] of followers.entries()) {
        const events = await follower.take(({ type }) => type === 'flush');
        const changes = events.filter(({ type }) => type !== 'bookmark').map(({ type, key }) => key ?? type);
        assert.deepEqual(changes, [...(wanted[index] ?? []), 'flush'], queries[index]);
        follower.close();
      }
    },
  );

  await t.test('a prefix may contain characters that are special in a query', async (t) => {
    for (const prefix of ['a?b', 'a=b', 'a&b', 'a+b', 'a b', 'a#b', 'a%b', 'a/b']) {
      written(await put(`${prefix}/1`, 'v'));
      for (const query of [
        `prefix=${encodeURIComponent(prefix)}`,
        ...(prefix === 'a?b' ? ['prefix=a?b'] : []),
      ]) {
        for (const transport of ['ndjson', 'websocket'] as const) {
          const events = await poll(t, master, query, transport);
          assert.deepEqual(events.map(({ key }) => key).filter(Boolean), [`${prefix}/1`], query);
        }
      }
      written(await http.send('DELETE', '/v1/keys?all=true'));
    }
  });

  await t.test('a snapshot has each entry that has not expired once, and no others', async (t) => {
    written(await put('s/1', 'one'));
    written(await put('s/2', '', '?ttl=1000'));
    written(await put('s/3', Buffer.from([200])));
    written(await put('t', 'not wanted'));
    const { expiresAt } = json(await put('s/gone', 'v', '?ttl=0.01')) as { expiresAt: number };
    await until('it has expired', () => Date.now() > expiresAt);
    for (const node of [master, replica]) {
      await converged(master, replica);
      for (const transport of TRANSPORTS) {
        // If the master deletes just now what has expired, that is told behind the snapshot.
        const events = (await poll(t, node, 'prefix=s/', transport)).filter(({ type }) => type !== 'delete');
        const [reset, ...rest] = events;
        assert.deepEqual([reset?.type, reset?.reason, reset?.keys], ['reset', 'first-sync', 3]);
        assert.deepEqual(
          rest.map(({ type, key }) => key ?? type),
          ['s/1', 's/2', 's/3', 'synced'],
        );
        assert.ok(rest.slice(0, -1).every(({ type }) => type === 'entry'));
        assert.equal(reset?.position, rest.at(-1)?.position);
        for (const { key, version, expiresAt } of rest.slice(0, -1)) {
          const read = await fetch(`${node.url}/v1/keys/${key}`);
          assert.equal(read.headers.get('etag'), `"${version}"`);
          assert.equal(read.headers.get('psync-expires-at'), expiresAt === null ? null : String(expiresAt));
        }
      }
    }
  });

  await t.test('a snapshot without entries is a reset with no keys, and synced', async (t) => {
    const [reset, synced, ...more] = await poll(t, master, 'prefix=nothing/');
    assert.deepEqual([reset?.type, reset?.keys, synced?.type, more], ['reset', 0, 'synced', []]);
  });
});

test('a follower may give its last position, and gets what follows it or a snapshot', async (t) => {
  const { master, replica, http } = await pair(t);
  const start = await position(master);
  const all: string[] = [];
  for (let index = 0; index < 12; index += 1) {
    all.push(written(await http.send('PUT', `/v1/keys/k${index % 3}`, `v${index}`)));
  }
  const [runId] = start.split(':') as [string];
  await converged(master, replica);

  await t.test(
    'a position is good on any node and any transport: no event is lost or repeated',
    async (t) => {
      let at = start;
      const seen: (string | undefined)[] = [];
      for (let turn = 0; turn < all.length; turn += 1) {
        const transport = TRANSPORTS[turn % 3] as Transport;
        const node = turn % 2 === 0 ? master : replica;
        const [begun, change, ...more] = await follow(t, node, `position=${at}&limit=1`, transport).all();
        assert.deepEqual([begun?.type, begun?.position, more], ['continue', at, []]);
        seen.push(change?.position);
        at = String(change?.position);
      }
      assert.deepEqual(seen, all);
    },
  );

  await t.test('a request without `wait` from the newest position gets a bookmark', async (t) => {
    const at = all.at(-1);
    assert.deepEqual(await poll(t, replica, `position=${at}`), [
      { type: 'continue', position: at, head: at },
      { type: 'bookmark', position: at },
    ]);
  });

  await t.test('offset 0 continues as long as the backlog holds the whole stream', async (t) => {
    const events = await poll(t, master, `position=${runId}:0`);
    assert.deepEqual([events[0]?.type, events[0]?.position], ['continue', `${runId}:0`]);
    assert.deepEqual(events.filter(({ type }) => type === 'set').length, all.length + 1);
  });

  await t.test('the run ID of a position may be written in capital letters', async (t) => {
    const [first] = await poll(t, master, `position=${start.toUpperCase()}`);
    assert.deepEqual([first?.type, first?.position], ['continue', start]);
  });

  await t.test('a malformed or incomplete position is 400', async (t) => {
    const wrong = [
      '',
      runId,
      `${runId}:`,
      ':5',
      `${runId}:5x`,
      `${runId}:-1`,
      `${runId}:1.5`,
      `${runId}:+5`,
      `${runId}:5:5`,
      `x${runId}:5`,
      `${runId.slice(1)}:5`,
      `${runId}:99999999999999999`,
      `%00${runId}:5`,
      `${runId}:5%0A`,
      'Now',
      'latest',
    ];
    for (const text of wrong) {
      await refused(t, master, { query: `position=${text}` }, 400, 'BAD_REQUEST', 4400, /neither a position/);
    }
    const headers = { 'last-event-id': `${runId}:` };
    const follower = TestFollower.follow(t, master.url, { transport: 'sse', headers });
    assert.equal((await follower.whenEnded()).status, 400);
  });

  await t.test(
    'a position inside a write or a batch gets a snapshot, like one of a lost history',
    async (t) => {
      const batch = { ops: ['b1', 'b2'].map((key) => ({ op: 'set', key, value: 'v' })) };
      const before = offsetOf(await position(master));
      const answer = await http.sendJson('POST', '/v1/batch', batch);
      const end = offsetOf(written(answer));
      const [{ version: inside }] = json(answer).results as [{ version: number }];
      await converged(master, replica);
      for (const at of [before + 1, inside, end - 1]) {
        const query = `position=${runId}:${at}`;
        for (const node of [master, replica]) {
          const [reset, ...rest] = await poll(t, node, query);
          assert.deepEqual([reset?.type, reset?.reason], ['reset', 'different-bytes']);
          assert.equal(rest.at(-1)?.type, 'synced');
          const only = `${query}&snapshot=false`;
          await refused(t, node, { query: only }, 410, 'POSITION_LOST', 4409, /different-bytes/);
        }
      }
      const [first, next] = await poll(t, master, `position=${runId}:${before}`);
      assert.deepEqual([first?.type, next?.type, next?.changes?.length], ['continue', 'batch', 2]);
    },
  );

  await t.test(
    'a position of another history gets a snapshot, or an error if the follower wants none',
    async (t) => {
      const foreign = `position=${'0'.repeat(40)}:7`;
      const [reset, ...rest] = await poll(t, master, `${foreign}&prefix=k`);
      assert.deepEqual([reset?.type, reset?.reason, reset?.keys], ['reset', 'unknown-run-id', 3]);
      assert.equal(rest.at(-1)?.type, 'synced');
      const query = `${foreign}&snapshot=false`;
      await refused(t, master, { query }, 410, 'POSITION_LOST', 4409, /unknown-run-id/);
    },
  );

  await t.test('a position ahead of a master gets a snapshot that says so', async (t) => {
    const ahead = `position=${runId}:${offsetOf(await position(master)) + 1_000_000}`;
    const [reset] = await poll(t, master, ahead);
    assert.deepEqual([reset?.type, reset?.reason], ['reset', 'ahead-of-master']);
    const query = `${ahead}&snapshot=false`;
    await refused(t, master, { query }, 410, 'POSITION_LOST', 4409, /ahead-of-master/);
  });

  await t.test('a replica waits until it reaches a position ahead of it, and continues then', async (t) => {
    const now = offsetOf(await position(master));
    const key = '/v1/keys/awaited';
    const bytes = offsetOf(written(await http.send('PUT', key, 'v'))) - now;
    await converged(master, replica);
    const followers = TRANSPORTS.map((transport) =>
      follow(t, replica, `position=${runId}:${now + 2 * bytes}&limit=1`, transport),
    );
    await until('one waits', async () => (await replica.client.replication()) !== null);
    const reached = written(await http.send('PUT', key, 'v'));
    assert.equal(reached, `${runId}:${now + 2 * bytes}`);
    const next = written(await http.send('PUT', key, 'v'));
    for (const follower of followers) {
      const [first, change] = await follower.all();
      assert.deepEqual([first?.type, first?.position, change?.position], ['continue', reached, next]);
    }
  });

  await t.test('a position that a replica does not reach is 503 after some seconds', async (t) => {
    const query = `position=${runId}:${offsetOf(await position(master)) + 1_000_000}`;
    await refused(t, replica, { query: `${query}&wait=0` }, 503, 'NOT_REACHED', 4503, /within 0 ms/);
    await refused(t, replica, { query }, 503, 'NOT_REACHED', 4503);
  });

  await t.test('the position in Last-Event-ID counts before the one in the query', async (t) => {
    const headers = { 'last-event-id': String(all[5]) };
    for (const query of [
      `position=${start}&limit=1`,
      'position=now&limit=1',
      'limit=1',
      'position=x&limit=1',
    ]) {
      const follower = TestFollower.follow(t, master.url, { transport: 'sse', query, headers });
      const [first, change] = await follower.all();
      assert.deepEqual([first?.position, change?.position], [all[5], all[6]], query);
      assert.equal(follower.lastEventId, all[6]);
    }
  });

  await t.test('the position "now" gets only later events', async (t) => {
    const followers = TRANSPORTS.map((transport) => follow(t, replica, 'position=now&limit=1', transport));
    const at = await position(master);
    for (const follower of followers) {
      assert.deepEqual(await follower.to('continue'), [{ type: 'continue', position: at, head: at }]);
    }
    const next = written(await http.send('PUT', '/v1/keys/now', 'v'));
    for (const follower of followers) {
      assert.deepEqual(
        (await follower.changes(1)).map((event) => event.position),
        [next],
      );
    }
  });
});

test('every position that was handed out is continued or reset, never taken for one inside a write', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--backlog-size', '16kb', '--apply-interval', '5ms');
  const http = new Connection(t, node);
  const follower = follow(t, node, '', 'websocket');
  await follower.to('synced');
  for (let index = 0; index < 60; index += 1) {
    const value = 'x'.repeat((index * 131) % 900);
    if (index % 3 === 0) {
      const ops = ['a', 'b', 'c'].map((key) => ({ op: 'set', key, value }));
      written(await http.sendJson('POST', '/v1/batch', { ops }));
    } else written(await http.send('PUT', `/v1/keys/k${index}`, value));
  }
  const changes = await follower.changes(60);
  // The journal is trimmed when the applier has it.
  await node.client.digest();
  const answers: string[] = [];
  for (const { position: at } of changes) {
    const [first] = await poll(t, node, `position=${at}`);
    answers.push(first?.type ?? '');
    const check = await node.client.check(String(at));
    assert.equal(first?.type, check.decision === 'continue' ? 'continue' : 'reset', at);
  }
  const continued = answers.indexOf('continue');
  assert.ok(continued > 0, answers.join());
  assert.deepEqual(new Set(answers.slice(continued)), new Set(['continue']));
});

test('the query of a follower decides what it gets and when the stream ends', async (t) => {
  const { master, replica, http } = await pair(t);
  const put = async (key: string, value = 'v'): Promise<string> =>
    written(await http.send('PUT', `/v1/keys/${key}`, value));
  const start = await position(master);

  await t.test(
    '"limit" ends the stream after so many changes; a batch counts as one, entries of a snapshot do not count',
    async (t) => {
      await put('l/1');
      const ops = ['l/2', 'l/3'].map((key) => ({ op: 'set', key, value: 'v' }));
      written(await http.sendJson('POST', '/v1/batch', { ops }));
      await put('l/4');
      await onAll(async (transport) => {
        const follower = follow(t, master, `position=${start}&prefix=l/&limit=2`, transport);
        const events = await follower.all();
        assert.deepEqual(
          events.map(({ type }) => type),
          ['continue', 'set', 'batch'],
        );
        assert.deepEqual([follower.ended?.isWhole, follower.ended?.closeCode ?? 1000], [true, 1000]);
      });
      await converged(master, replica);
      const followers = TRANSPORTS.map((transport) => follow(t, replica, 'prefix=l/&limit=1', transport));
      for (const follower of followers) {
        const snapshot = await follower.to('synced');
        assert.equal(snapshot.filter(({ type }) => type === 'entry').length, 4);
      }
      const next = await put('l/5');
      await put('l/6');
      for (const follower of followers) {
        const events = await follower.all();
        assert.deepEqual(
          events.filter(({ type }) => type !== 'bookmark').map((each) => each.position),
          [next],
        );
      }
    },
  );

  await t.test(
    '"wait" ends the stream after pending changes, after a snapshot, or after the next change',
    async (t) => {
      const before = await position(master);
      await put('w/1');
      await put('w/2');
      await onAll(async (transport) => {
        const known = await follow(t, master, `position=${before}&prefix=w/&wait=60`, transport).all();
        assert.deepEqual(
          known.map(({ key, type }) => key ?? type),
          ['continue', 'w/1', 'w/2'],
        );
        const snapshot = await follow(t, master, 'prefix=w/&wait=60', transport).all();
        assert.deepEqual(
          snapshot.map(({ key, type }) => key ?? type),
          ['reset', 'w/1', 'w/2', 'synced'],
        );
      });
      const followers = TRANSPORTS.map((transport) =>
        follow(t, master, 'position=now&prefix=w/&wait=60', transport),
      );
      for (const follower of followers) await follower.to('continue');
      await put('elsewhere');
      const next = await put('w/3');
      for (const follower of followers) {
        const events = (await follower.all()).filter(({ type }) => type !== 'bookmark');
        assert.deepEqual(
          events.map((each) => each.position),
          [next],
        );
        assert.ok(follower.ended?.isWhole);
      }
    },
  );

  await t.test('"wait" ends with a bookmark when time is up, from which nothing is lost', async (t) => {
    const before = await position(master);
    const after = await put('elsewhere');
    await converged(master, replica);
    await onAll(async (transport) => {
      for (const wait of ['0', '0.05', '0.5']) {
        const follower = follow(t, replica, `position=${before}&prefix=w/&wait=${wait}`, transport);
        const [begun, ...bookmarks] = await follower.all();
        assert.deepEqual(begun, { type: 'continue', position: before, head: after });
        assert.deepEqual(bookmarks.at(-1), { type: 'bookmark', position: after });
        assert.ok(bookmarks.every(({ type }) => type === 'bookmark'));
        assert.equal(follower.ended?.closeCode ?? 1000, 1000);
      }
    });
  });

  await t.test('"snapshot=false" without a position is 400, and with "now" it is not', async (t) => {
    await refused(t, master, { query: 'snapshot=false' }, 400, 'BAD_REQUEST', 4400, /position/);
    const events = await poll(t, master, 'snapshot=false&position=now');
    assert.deepEqual(
      events.map(({ type }) => type),
      ['continue', 'bookmark'],
    );
    const same = await poll(t, master, `snapshot=true&position=${start}&prefix=none`);
    assert.deepEqual(
      same.map(({ type }) => type),
      ['continue', 'bookmark'],
    );
  });

  await t.test('an unknown, repeated or out-of-range query parameter is 400', async (t) => {
    const bad = [
      'offset=5',
      'Prefix=a',
      'prefixes=a',
      'limit=1&limit=2',
      'wait=1&wait=1',
      'snapshot=true&snapshot=true',
      `position=${start}&position=${start}`,
      'position=now&position=now',
      'limit=0',
      'limit=-1',
      'limit=1.5',
      'limit=1e3',
      'limit=',
      'limit=1000001',
      'limit=x',
      'wait=-1',
      'wait=601',
      'wait=',
      'wait=0x1',
      'wait=1e2',
      'wait=NaN',
      'snapshot=',
      'snapshot=1',
      'snapshot=no',
      `prefix=${'x'.repeat(1_025)}`,
      `prefix=${'%C3%BC'.repeat(513)}`,
      Array.from({ length: 101 }, (_, index) => `prefix=${index}`).join('&'),
      '__proto__=1',
      '=',
    ];
    for (const query of bad) await refused(t, master, { query }, 400, 'BAD_REQUEST', 4400);
  });

  await t.test('query parameters at their limits are accepted', async (t) => {
    const prefixes = Array.from({ length: 100 }, (_, index) => `prefix=${index}${'x'.repeat(60)}`).join('&');
    for (const query of [
      prefixes,
      `prefix=${'x'.repeat(1_024)}`,
      `prefix=${'%F0%9F%98%80'.repeat(256)}`,
      'limit=1000000&prefix=none',
      'prefix=none&',
    ]) {
      for (const transport of TRANSPORTS) {
        const events = await poll(t, master, query, transport);
        assert.deepEqual(
          events.map(({ type }) => type),
          ['reset', 'synced'],
          query.slice(0, 80),
        );
      }
    }
  });

  await t.test('a query that is no percent-encoded UTF-8 is 400', async (t) => {
    for (const query of ['prefix=%ff', 'prefix=%ED%A0%BD', 'prefix=%zz', 'prefix=%', 'limit=1&prefix=a%F']) {
      const detail = /^"prefix=[^&]*" in the query is not percent-encoded UTF-8$/;
      await refused(t, master, { query }, 400, 'BAD_REQUEST', 4400, detail);
    }
  });

  await t.test('another method is 405, and a media type that the route does not have is 406', async () => {
    for (const method of ['HEAD', 'POST', 'PUT', 'DELETE', 'PATCH']) {
      const answer = await http.send(method, '/v1/changes');
      assert.deepEqual([answer.status, answer.headers.allow], [405, 'GET, OPTIONS'], method);
    }
    for (const accept of ['application/json', 'text/html', 'application/x-ndjson;q=0', 'image/*']) {
      const answer = await http.send('GET', '/v1/changes', undefined, { accept });
      isProblem(answer, 406, 'NOT_ACCEPTABLE');
    }
    for (const [accept, type] of [
      ['*/*', 'application/x-ndjson'],
      ['application/*', 'application/x-ndjson'],
      ['text/*', 'text/event-stream'],
      ['text/event-stream, application/x-ndjson;q=0.5', 'text/event-stream'],
      ['application/json, text/event-stream;q=0.1', 'text/event-stream'],
    ] as const) {
      const response = await fetch(`${master.url}/v1/changes?position=now&wait=0`, { headers: { accept } });
      assert.equal(response.headers.get('content-type'), type, accept);
      assert.equal(response.headers.get('cache-control'), 'no-store');
      await response.arrayBuffer();
    }
  });
});

test('a node admits followers up to its limits, and refuses foreign pages and other protocols', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--max-followers', '4');
  const friendly = await cluster.start('friendly', '--allow-origin', 'https://app.example');
  const query = 'position=now&wait=0';

  await t.test(
    'a page of another origin is 403, one of the same host or an allowed one is not',
    async (t) => {
      const foreign = ['https://evil.example', 'null', `http://localhost:${node.port}`, 'http://127.0.0.1'];
      for (const origin of foreign) {
        for (const transport of TRANSPORTS) {
          const headers = { origin };
          const end = await TestFollower.follow(t, node.url, { query, transport, headers }).whenEnded();
          assert.equal(end.status, 403, `${transport} ${origin}`);
        }
      }
      const welcome = [
        [node, node.url],
        [friendly, 'https://app.example'],
        [friendly, friendly.url],
      ] as const;
      for (const [host, origin] of welcome) {
        for (const transport of TRANSPORTS) {
          const headers = { origin };
          const follower = TestFollower.follow(t, host.url, { query, transport, headers });
          assert.deepEqual(
            [(await follower.all()).at(-1)?.type, follower.ended?.isWhole],
            ['bookmark', true],
          );
        }
      }
      const headers = { origin: 'https://other.example' };
      const end = await TestFollower.follow(t, friendly.url, { query, headers }).whenEnded();
      assert.equal(end.status, 403);
      const allowed = { headers: { origin: 'https://app.example' } };
      const stream = await fetch(`${friendly.url}/v1/changes?${query}`, allowed);
      assert.equal(stream.headers.get('access-control-allow-origin'), 'https://app.example');
      await stream.arrayBuffer();
    },
  );

  await t.test(
    'a WebSocket without the subprotocol is 400, one that offers more gets that one',
    async (t) => {
      for (const subprotocols of [[], ['psync.v1'], ['psync.v1.JSON']]) {
        const end = await TestFollower.follow(t, node.url, {
          transport: 'websocket',
          subprotocols,
        }).whenEnded();
        assert.equal(end.status, 400, subprotocols.join());
      }
      const subprotocols = ['graphql-ws', 'psync.v1.json'];
      const follower = TestFollower.follow(t, node.url, { transport: 'websocket', subprotocols, query });
      assert.equal((await follower.all()).at(-1)?.type, 'bookmark');
    },
  );

  await t.test('more followers than the node serves are 429, and the others go on', async (t) => {
    const four = [...TRANSPORTS, 'ndjson' as const].map((transport) =>
      follow(t, node, 'position=now', transport),
    );
    for (const follower of four) await follower.to('continue');
    await refused(t, node, { query }, 429, 'TOO_MANY_REQUESTS', 4429);
    await node.client.set('k', 'v');
    for (const follower of four) await follower.changes(1);
    four[0]?.cut();
    await until('there is room', async () => (await node.client.replication()) && (await roomFor(t, node)));
  });

  await t.test('a follower that speaks is closed with 4400, whatever it says', async (t) => {
    const query = 'position=now';
    for (const data of ['{"type":"subscribe"}', '', Buffer.from([1]), 'x'.repeat(1_024)]) {
      const follower = TestFollower.follow(t, friendly.url, { transport: 'websocket', query });
      await follower.to('continue');
      follower.say(data);
      assert.equal((await follower.whenEnded()).closeCode, 4400);
    }
    const follower = TestFollower.follow(t, friendly.url, { transport: 'websocket', query });
    await follower.to('continue');
    follower.say('x'.repeat(100_000));
    assert.ok([1009, 4400].includes(Number((await follower.whenEnded()).closeCode)));
    await friendly.client.set('still', 'there');
  });

  await t.test(
    'a WebSocket that sends malformed frames or disconnects at once does not disturb other followers',
    async (t) => {
      for (const bytes of [[0x8f, 0x80], [0x81, 0x01, 0x61], [0xff, 0xff, 0xff], [0x89, 0xfe], []]) {
        const socket = await upgraded(t, friendly);
        socket.write(Buffer.from([...bytes, 0, 0, 0, 0]));
        socket.on('data', () => undefined);
        if (bytes.length === 0) socket.destroy();
        else socket.end();
        await once(socket, 'close');
      }
      await friendly.client.set('still', 'there');
      assert.equal(await friendly.stop(), 0);
    },
  );
});

async function roomFor(t: TestContext, node: ChildNode): Promise<boolean> {
  const follower = follow(t, node, 'position=now&wait=0');
  return (await follower.whenEnded()).status === 200;
}

/** A WebSocket that the test makes the bytes of. */
async function upgraded(t: TestContext, node: ChildNode): Promise<Socket> {
  const socket = connect(node.port, '127.0.0.1');
  t.after(() => socket.destroy());
  socket.on('error', () => undefined);
  socket.write(
    'GET /v1/changes?position=now HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n' +
      'Sec-WebSocket-Protocol: psync.v1.json\r\n\r\n',
  );
  await once(socket, 'data');
  return socket;
}

/** The events that the EventSource of a page would get, by Node's own implementation. */
async function* eventSource(t: TestContext, url: string): AsyncGenerator<FeedEvent> {
  const script = `
    const source = new EventSource(process.argv[1]);
    source.onmessage = ({ data }) => console.log(data);
    // Its own timers do not keep a process alive.
    setInterval(() => undefined, 1_000);
    source.onerror = () => source.readyState === EventSource.CLOSED && console.log('{"type":"gave up"}');
  `;
  const args = ['--no-warnings', '--experimental-eventsource', '-e', script, url];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  for await (const line of createInterface({ input: child.stdout })) yield JSON.parse(line) as FeedEvent;
}

test('a page with an EventSource gets errors as events, and reconnects after a while', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node', '--max-followers', '0');

  await t.test(
    'an EventSource is told why it is not served, and is served as soon as there is room',
    async (t) => {
      const events = eventSource(t, `${node.url}/v1/changes?position=now`);
      const { value: refusal } = await events.next();
      assert.deepEqual([refusal?.type, refusal?.code], ['error', 'TOO_MANY_REQUESTS']);
      const http = new Connection(t, node);
      assert.equal((await http.sendJson('PATCH', '/v1/config', { maxFollowers: 10 })).status, 200);
      let event: FeedEvent | undefined = refusal;
      while (event?.type === 'error') event = (await events.next()).value;
      assert.equal(event?.type, 'continue');
    },
  );

  await t.test(
    'an EventSource with a malformed query is told so, and asks again only much later',
    async (t) => {
      for (const query of ['limit=x', 'prefix=%ff', 'snapshot=false']) {
        for (const page of [{ 'sec-fetch-mode': 'cors' }, { origin: node.url }]) {
          const follower = TestFollower.follow(t, node.url, { transport: 'sse', query, headers: page });
          const [event] = await follower.all();
          assert.deepEqual([event?.type, event?.code, follower.ended?.status], ['error', 'BAD_REQUEST', 200]);
          assert.ok((follower.retryMs ?? 0) >= 60_000);
        }
      }
    },
  );

  await t.test('each EventSource waits a time of its own before it reconnects', async (t) => {
    const query = 'position=now&wait=0';
    const waits = new Set<number | null>();
    for (let page = 0; page < 8; page += 1) {
      const follower = TestFollower.follow(t, node.url, { transport: 'sse', query });
      await follower.all();
      assert.ok(Number(follower.retryMs) >= 1_000 && Number(follower.retryMs) <= 5_000);
      waits.add(follower.retryMs);
    }
    assert.ok(waits.size > 1);
  });
});
