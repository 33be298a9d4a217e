/** `from-time`: the changes of a time and later, from the journal. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { Cluster, converged, linkState, writeMany } from '../support/cluster.ts';
import { TestFollower, TRANSPORTS, type Transport } from '../support/follower.ts';
import { WallClock } from '../support/wall-clock.ts';

const HOUR_MS = 3_600_000;

/** Keys of the changes since a time, up to the last one that there is. */
async function keysSince(
  t: TestContext,
  node: ChildNode,
  time: string,
  transport: Transport,
): Promise<string[]> {
  const keys: string[] = [];
  for (let query = `from-time=${encodeURIComponent(time)}`; ; ) {
    const follower = TestFollower.follow(t, node.url, { query: `${query}&wait=0`, transport });
    await follower.whenEnded();
    const [first, ...events] = follower.received;
    assert.equal(first?.type, 'continue', JSON.stringify(first));
    for (const { type, key } of events) if (type === 'set' && key !== 'wall-clock') keys.push(String(key));
    const { position } = events.at(-1) ?? first;
    if (position === first.head) return keys;
    query = `position=${position}`;
  }
}

/** The time so many hours from now. */
function later(hours: number): number {
  return Date.now() + hours * HOUR_MS;
}

test('a follower gets all changes since a time, on every transport, from masters and replicas', async (t) => {
  const clock = await WallClock.create(t);
  const cluster = await Cluster.create(t);
  const master = await cluster.startWith(clock.environment, 'master');
  const replica = await cluster.startWith(clock.environment, 'replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  for (const hours of [0, 2, 4]) {
    await clock.set(hours * HOUR_MS, master, replica);
    await master.client.set(`at ${hours}`, 'x');
    await converged(master, replica);
  }
  const iso = (hours: number): string => new Date(later(hours)).toISOString();
  const eastern = new Date(later(1 + 9)).toISOString().replace('Z', '+09:00');
  const all = ['at 0', 'at 2', 'at 4'];
  for (const node of [master, replica]) {
    for (const transport of TRANSPORTS) {
      const what = `${node === master ? 'master' : 'replica'} ${transport}`;
      assert.deepEqual(await keysSince(t, node, '0', transport), all, what);
      assert.deepEqual(await keysSince(t, node, iso(1), transport), all.slice(1), what);
      assert.deepEqual(await keysSince(t, node, eastern, transport), all.slice(1), what);
      assert.deepEqual(await keysSince(t, node, String(later(3)), transport), all.slice(2), what);
      assert.deepEqual(await keysSince(t, node, iso(50), transport), [], what);
    }
  }

  // The clock is set back: what it said before counts too.
  await clock.set(HOUR_MS, master);
  await master.client.set('at 1', 'x');
  assert.deepEqual(await keysSince(t, master, iso(1.5), 'ndjson'), ['at 2', 'at 4', 'at 1']);
  assert.deepEqual(await keysSince(t, master, iso(3), 'ndjson'), ['at 4', 'at 1']);
});

test('a time that the journal does not reach back to is told, with the one that it reaches', async (t) => {
  const clock = await WallClock.create(t);
  const cluster = await Cluster.create(t);
  const flags = ['--backlog-size', '16kb', '--apply-interval', '10ms'];
  const master = await cluster.startWith(clock.environment, 'master', ...flags);
  await writeMany(master, 'old', 60, 'x'.repeat(1_000));
  await clock.set(2 * HOUR_MS, master);
  await writeMany(master, 'new', 5, 'x'.repeat(1_000));
  const url = `${master.url}/v1/changes?from-time=${later(-1)}`;
  const answer = await fetch(url);
  const { code, reason, earliest, detail } = (await answer.json()) as Record<string, string>;
  assert.deepEqual([answer.status, code, reason], [410, 'POSITION_LOST', 'behind-backlog'], detail);
  assert.match(String(detail), /--journal-keep/);
  const since = Date.parse(String(earliest));
  assert.ok(since > later(-0.1) && since < later(0.1), earliest);
  // The last writes, however many of them were made at that time or later.
  const keys = await keysSince(t, master, String(earliest), 'ndjson');
  const written = [
    ...Array.from({ length: 60 }, (_, at) => `old${at}`),
    ...Array.from({ length: 5 }, (_, at) => `new${at}`),
  ];
  assert.ok(keys.length >= 5);
  assert.deepEqual(keys, written.slice(-keys.length));
  const webSocket = TestFollower.follow(t, master.url, { transport: 'websocket', query: 'from-time=0' });
  const { closeCode } = await webSocket.whenEnded();
  assert.deepEqual([closeCode, webSocket.received[0]?.code], [4409, 'POSITION_LOST']);
  // An EventSource that comes back has a position.
  const { position } = await master.client.replication();
  const headers = { 'last-event-id': position };
  const back = TestFollower.follow(t, master.url, { transport: 'sse', query: 'from-time=0&wait=0', headers });
  await back.whenEnded();
  assert.deepEqual([back.received[0]?.type, back.received[0]?.position], ['continue', position]);
});

test('a time that is none is refused', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  for (const query of [
    'from-time=',
    'from-time=yesterday',
    'from-time=2026-11-29',
    'from-time=2026-11-29T05:00:00',
    'from-time=2026-02-30T05:00:00Z',
    'from-time=2026-13-01T05:00:00Z',
    'from-time=2026-11-29T24:00:00Z',
    'from-time=2026-11-29T05:00:00+09:00',
    'from-time=-1',
    'from-time=1.5',
    'from-time=1e12',
    'from-time=99999999999999',
    'from-time=0&from-time=1',
    'from-time=0&position=now',
  ]) {
    const answer = await fetch(`${master.url}/v1/changes?${query}`);
    const { code, detail } = (await answer.json()) as { code: string; detail: string };
    assert.deepEqual([answer.status, code], [400, 'BAD_REQUEST'], query);
    assert.equal(detail.includes('%2B'), query.includes('+'), detail);
  }
  const fine = await fetch(`${master.url}/v1/changes?from-time=2024-02-29t05:00z&snapshot=false&wait=0`);
  assert.match(await fine.text(), /^\{"type":"continue"/);
});
