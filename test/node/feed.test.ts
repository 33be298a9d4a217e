/** What the feed does in moments that a real node has too seldom to test. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Overlay } from '../../src/keyspace/overlay/overlay.ts';
import { offset, ZERO } from '../../src/replication/position.ts';
import { parseFeedRequest } from '../../src/web/feed-query.ts';
import { after } from '../support/arbitraries.ts';
import { type FakeSocket, KIB, keyspaceAt, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';

test('followers that read pending changes from the stream lose none when a bookmark is due', async () => {
  const stage = new Stage();
  const { socket } = stage.follow('position=now');
  await stage.world.settle();
  // Half the backlog: a bookmark is due, and nothing is given before the next turn.
  stage.world.ms += 1_000;
  for (const key of ['1', '2', '3', '4', '5', '6', '7']) stage.set(key, MIB);
  await stage.world.settle();
  stage.set('8');
  await stage.world.settle();
  assert.deepEqual(socket.seen, ['continue', '1', '2', '3', '4', '5', '6', '7', '8']);
});

test('a bookmark that is due during a full resync does not stop the followers', async () => {
  const stage = new Stage();
  const { socket } = stage.follow('position=now');
  await stage.world.settle();
  stage.world.ms += 1_000;
  stage.set('1', 900 * KIB);
  const entries = after(
    new Map(),
    { kind: 'set', key: 'new', value: Buffer.from('v'), expiresAt: null },
    5_000,
  );
  stage.replace(keyspaceAt({ runId: RUN_ID, offset: offset(5_000_000) }, entries), stage.history);
  stage.set('2');
  await stage.world.settle();
  stage.set('3');
  await stage.world.settle();
  assert.deepEqual(socket.seen, ['continue', 'reset', '2', 'new', 'synced', '3']);
});

test('followers that read pending changes from the stream begin where the journal still has them', async () => {
  const stage = new Stage(16 * KIB);
  const { socket } = stage.follow('position=now&prefix=rare/');
  await stage.world.settle();
  // Others write more than the backlog holds, in less time than bookmarks are apart.
  for (let index = 0; index < 4; index += 1) stage.set(`other${index}`, 10 * KIB);
  await stage.world.pass(10);
  assert.ok(Number(stage.rows[0]?.start) > 0, 'the journal was trimmed');
  for (const key of ['rare/1', 'rare/2', 'rare/3']) stage.set(key, 2 * MIB);
  await stage.world.settle();
  assert.equal(socket.closed, null);
  assert.deepEqual(socket.seen, ['continue', 'rare/1', 'rare/2', 'rare/3']);
});

test('restarting the snapshot of a follower that reads nothing closes the old reader', async () => {
  const value = Buffer.alloc(200 * KIB, 'x');
  const entries = new Map(['a', 'b', 'c', 'd'].map((key) => [key, { value, version: 1, expiresAt: null }]));
  const old = keyspaceAt({ runId: RUN_ID, offset: ZERO }, entries);
  const stage = new Stage(MIB, old);
  const { socket, events } = stage.follow('prefix=', true);
  await stage.world.settle();
  assert.equal(old.openReaders, 1);
  const next = keyspaceAt({ runId: RUN_ID, offset: offset(5_000_000) }, entries);
  stage.replace(next, stage.history);
  await stage.world.settle();
  assert.equal(old.openReaders, 0);
  socket.release();
  events.drained();
  await stage.world.settle();
  assert.equal(next.openReaders, 0);
  assert.deepEqual(socket.seen.slice(-6), ['reset', 'a', 'b', 'c', 'd', 'synced']);
});

test('followers of one client whose snapshots are not read leave readers to another client', async () => {
  const value = Buffer.alloc(200 * KIB, 'x');
  const entries = new Map(['a', 'b', 'c', 'd'].map((key) => [key, { value, version: 1, expiresAt: null }]));
  const keyspace = keyspaceAt({ runId: RUN_ID, offset: ZERO }, entries);
  const stage = new Stage(MIB, keyspace);
  const [first] = Array.from({ length: 6 }, () => stage.follow('prefix=', true, 'greedy'));
  await stage.world.settle();
  assert.equal(keyspace.openReaders, 2);
  const other = stage.follow('prefix=', false, 'other');
  await stage.world.settle();
  assert.deepEqual(other.socket.seen, ['reset', 'a', 'b', 'c', 'd', 'synced']);
  assert.equal(keyspace.openReaders, 2);
  first?.events.closed();
  await stage.world.settle();
  assert.equal(keyspace.openReaders, 2, 'the next follower of the same client has its turn');
});

test('a slow snapshot ends for waiting followers of its client, and not for those that wait for their own client', async () => {
  const value = Buffer.alloc(200 * KIB, 'x');
  const entries = new Map(['a', 'b', 'c', 'd'].map((key) => [key, { value, version: 1, expiresAt: null }]));
  const stage = new Stage(MIB, keyspaceAt({ runId: RUN_ID, offset: ZERO }, entries));
  const slow = stage.follow('prefix=', true, 'slow');
  const greedy = Array.from({ length: 3 }, () => stage.follow('prefix=', true, 'greedy'));
  await stage.world.settle();
  await stage.world.pass(15_000);
  assert.equal(slow.socket.closed, null);
  assert.ok(greedy.some(({ socket }) => socket.closed !== null));
});

test('a long poll that joins while other followers receive events ends when its time is up', async () => {
  const stage = new Stage();
  const many = Array.from({ length: 900 }, () => stage.follow('position=now'));
  await stage.world.settle();
  stage.set('1');
  await stage.world.turn();
  const { socket } = stage.follow('position=now&wait=0');
  await stage.world.turn();
  await stage.world.pass(5);
  assert.equal(many.at(-1)?.socket.seen.at(-1), '1');
  assert.equal(socket.closed?.code, 1000);
});

/** Whether the follower was told the head that its `continue` promised. */
function hasCaughtUp({ events }: FakeSocket): boolean {
  const head = events.find(({ type }) => type === 'continue')?.head;
  return head !== undefined && events.at(-1)?.position === head;
}

test('a follower that continues is soon told that it has reached the head, whatever it lacked', async () => {
  const stage = new Stage();
  stage.set('mine/1');
  stage.set('other/1');
  const { socket } = stage.follow(`position=${RUN_ID}:0&prefix=mine/`);
  await stage.world.settle();
  assert.deepEqual(socket.seen, ['continue', 'mine/1']);
  assert.ok(hasCaughtUp(socket), 'the stretch ends with what is not its own');
});

test('a follower that continues is told that it has reached the head even if the pending groups end before it', async () => {
  const stage = new Stage();
  stage.follow('position=now&prefix=mine/');
  await stage.world.settle();
  const before = stage.head.offset;
  stage.set('mine/1');
  stage.set('other/1');
  const { socket } = stage.follow(`position=${RUN_ID}:${before}&prefix=mine/`);
  await stage.world.settle();
  assert.deepEqual(socket.seen, ['continue', 'mine/1']);
  assert.ok(hasCaughtUp(socket));
});

test('a long poll from a position ahead of a replica takes no longer than its wait', async (t) => {
  const stage = new Stage();
  stage.isMaster = false;
  stage.set('k');
  const ahead = 2 * stage.head.offset;
  const poll = (wait: number): Promise<unknown> =>
    stage.feed.admit(
      parseFeedRequest(`/?position=${RUN_ID}:${ahead}&wait=${wait}`),
      new AbortController().signal,
      'client',
    );
  await t.test('a long poll whose position the replica does not reach ends after its wait', async () => {
    const refused = assert.rejects(poll(0), { code: 'NOT_REACHED', message: /within 0 ms$/ });
    await stage.world.pass(0);
    await refused;
  });
  await t.test('a long poll whose position the replica reaches ends after its wait', async () => {
    const admitted = poll(3);
    await stage.world.pass(2_000);
    stage.set('k');
    stage.positions.moved();
    assert.partialDeepStrictEqual(await admitted, { waitMs: 1_000 });
  });
});

test('a long poll whose time is up does not get its last bookmark twice', async () => {
  const stage = new Stage();
  stage.set('other/1');
  const { socket } = stage.follow(`position=${RUN_ID}:0&prefix=mine/&wait=1`);
  await stage.world.settle();
  await stage.world.pass(1_000);
  assert.equal(socket.closed?.code, 1000);
  assert.deepEqual(
    socket.events.map(({ type }) => type),
    ['continue', 'bookmark'],
  );
});

test('a snapshot of many prefixes looks at the overlay once, and has the entries of each prefix', async (t) => {
  const stage = new Stage();
  for (let index = 0; index < 300; index += 1) stage.set(`p${index % 150}/${index}`);
  const looks = t.mock.method(Overlay.prototype, 'firstKeys');
  const prefixes = Array.from({ length: 100 }, (_, index) => `prefix=p${index}/`);
  const { socket } = stage.follow(prefixes.join('&'));
  await stage.world.settle();
  assert.equal(looks.mock.callCount(), 1);
  const keys = socket.events.flatMap(({ type, key }) => (type === 'entry' ? [key] : []));
  const wanted = Array.from({ length: 300 }, (_, index) => `p${index % 150}/${index}`);
  assert.deepEqual(keys, wanted.filter((key) => Number(key.slice(1).split('/')[0]) < 100).sort());
});

test('the small snapshot of a client waits for one of another client, and not for all of them', async () => {
  const stage = new Stage();
  for (const key of ['a1', 'a2', 'a3', 'b']) stage.set(key);
  const log: string[] = [];
  const follow = (prefix: string, client: string): void => {
    const { socket } = stage.follow(`prefix=${prefix}`, false, client);
    socket.send = () => {
      if (!log.includes(prefix)) log.push(prefix);
    };
  };
  for (const prefix of ['a1', 'a2', 'a3']) follow(prefix, 'many');
  follow('b', 'other');
  await stage.world.settle();
  assert.deepEqual(log, ['a1', 'b', 'a2', 'a3']);
});
