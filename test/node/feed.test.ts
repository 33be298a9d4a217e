/**
 * What the feed does in moments that a real node has too seldom to test: the event loop's turns, the clock and the
 * followers' sockets are the test's. The head of the stream is the real one, over a journal and a keyspace in memory.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as settled } from 'node:timers/promises';
import type { Entry } from '../../src/keyspace/entry.ts';
import { compareKeys } from '../../src/keyspace/key.ts';
import type { ListedEntry } from '../../src/keyspace/page.ts';
import { Feed } from '../../src/node/feed.ts';
import { parseFeedRequest } from '../../src/node/feed-request.ts';
import type {
  FollowerEvents,
  FollowerSocket,
  Keyspace,
  Log,
  StateStore,
  World,
} from '../../src/node/ports.ts';
import { PositionWaiters } from '../../src/node/position-waiters.ts';
import { StreamHead } from '../../src/node/stream-head.ts';
import { newHistory } from '../../src/replication/history.ts';
import { type Offset, offset, type Position, ZERO } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { after, runId } from '../support/arbitraries.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const RUN_ID = runId('a');

const log: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Nothing happens by itself. */
class FakeWorld implements World {
  ms = 1_000_000;
  #soon: (() => void)[] = [];
  #timers: { readonly at: number; readonly callback: () => void }[] = [];

  now(): number {
    return this.ms;
  }

  random(): number {
    return 0.5;
  }

  newRunId(): Position['runId'] {
    return RUN_ID;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.ms + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  soon(callback: () => void): void {
    this.#soon.push(callback);
  }

  /** What was to be done soon is done; what that asks for is not. */
  async turn(): Promise<void> {
    const due = this.#soon;
    this.#soon = [];
    for (const callback of due) callback();
    await settled();
  }

  /** Turns until there is nothing left to do. */
  async settle(): Promise<void> {
    await settled();
    for (let turns = 0; this.#soon.length > 0; turns += 1) {
      assert.ok(turns < 10_000, 'it goes round and round');
      await this.turn();
    }
  }

  async pass(ms: number): Promise<void> {
    for (const end = this.ms + ms; ; ) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at);
      this.ms = Math.max(this.ms, next?.at ?? end);
      if (next === undefined) return;
      this.#timers = this.#timers.filter((each) => each !== next);
      next.callback();
      await this.settle();
    }
  }
}

class FakeSocket implements FollowerSocket {
  readonly peer = 'test';
  readonly answersPings = false;
  readonly framing = (json: string): Buffer => Buffer.from(`${json}\n`);
  readonly events: { readonly type: string; readonly key?: string; readonly position?: string }[] = [];
  bufferedBytes = 0;
  /** It takes nothing. */
  isStuck = false;
  closed: { readonly code: number; readonly reason: string } | null = null;

  send(frames: Buffer): void {
    for (const line of frames.toString('utf8').trimEnd().split('\n')) this.events.push(JSON.parse(line));
    if (this.isStuck) this.bufferedBytes += frames.length;
  }

  ping(): void {
    // Nobody is there.
  }

  close(code: number, reason: string): void {
    this.closed = { code, reason };
  }

  terminate(): void {
    // Nothing is held.
  }

  /** Keys of the changes, and the types of everything else but bookmarks. */
  get seen(): readonly string[] {
    return this.events.filter(({ type }) => type !== 'bookmark').map(({ type, key }) => key ?? type);
  }
}

/** A keyspace file whose applier is at once done with everything. */
class FakeKeyspace {
  readonly opened: Position;
  readonly entries: ReadonlyMap<string, Entry>;
  openReaders = 0;

  constructor(opened: Position, entries: ReadonlyMap<string, Entry>) {
    this.opened = opened;
    this.entries = entries;
  }

  get listed(): ListedEntry[] {
    return [...this.entries]
      .map(([key, entry]) => ({ key, size: entry.value.length, ...entry }))
      .sort((one, other) => compareKeys(one.key, other.key));
  }

  get asKeyspace(): Keyspace {
    return {
      opened: this.opened,
      get: (key: string) => this.entries.get(key) ?? null,
      expiry: (key: string) => this.entries.get(key)?.expiresAt,
      scan: (from: string) => this.listed.filter(({ key }) => compareKeys(key, from) >= 0),
      feed: () => undefined,
      flush: () => Promise.resolve(),
      readEntries: (prefixes: readonly string[]) => this.#read(prefixes),
    } as unknown as Keyspace;
  }

  #read(prefixes: readonly string[]): ReturnType<Keyspace['readEntries']> {
    const wanted = this.listed.filter(({ key }) => prefixes.some((prefix) => key.startsWith(prefix)));
    let isOpen = true;
    this.openReaders += 1;
    return {
      position: this.opened,
      groups: (async function* groups() {
        for (const entry of wanted) yield [entry];
      })(),
      count: () => Promise.resolve(wanted.length),
      close: () => {
        if (isOpen) this.openReaders -= 1;
        isOpen = false;
      },
    };
  }
}

interface Row {
  readonly start: number;
  readonly end: number;
  readonly bytes: Buffer;
}

/** A node's feed over a stream that the test writes. */
class Stage {
  readonly world = new FakeWorld();
  readonly head: StreamHead;
  readonly feed: Feed;
  rows: Row[] = [];

  constructor(backlogBytes = MIB, keyspace = new FakeKeyspace({ runId: RUN_ID, offset: ZERO }, new Map())) {
    const { world } = this;
    this.head = StreamHead.recover({
      world,
      log,
      settings: { backlogBytes, overlayBytes: 1_024 * MIB, applyIntervalMs: 1 },
      state: this.#state(),
      keyspace: keyspace.asKeyspace,
    });
    const { head } = this;
    this.feed = new Feed({
      world,
      log,
      head,
      positions: new PositionWaiters(world, () => ({
        position: head.position,
        history: head.history,
        settled: true,
      })),
      settings: {
        maxFollowers: 1_000,
        followerOutputBytes: 1_024 * MIB,
        timeoutMs: 60_000,
        pingIntervalMs: 10_000,
      },
      isMaster: () => true,
      closing: () => false,
    });
  }

  follow(query: string, isStuck = false): { readonly socket: FakeSocket; readonly events: FollowerEvents } {
    const socket = new FakeSocket();
    socket.isStuck = isStuck;
    return { socket, events: this.feed.attach(parseFeedRequest(`/?${query}`), socket) };
  }

  commit(...commands: readonly Command[]): void {
    const encoder = new Encoder();
    for (const command of commands) encoder.add(command);
    this.head.commit(encoder.finish());
  }

  set(key: string, bytes = 1): void {
    this.commit({ kind: 'set', key, value: Buffer.alloc(bytes, 'x'), expiresAt: null });
  }

  #state(): StateStore {
    const stage = this;
    return {
      history: newHistory(RUN_ID),
      get journalStart() {
        const [first] = stage.rows;
        return first === undefined ? null : offset(first.start);
      },
      get journalEnd() {
        const last = stage.rows.at(-1);
        return last === undefined ? null : offset(last.end);
      },
      append: (end: Offset, bytes: Buffer) => {
        stage.rows.push({ start: end - bytes.length, end, bytes });
      },
      read: (from: Offset) => {
        const row = stage.rows.find(({ start, end }) => start <= from && from < end);
        if (row === undefined) throw new Error(`byte ${from} is not in the journal`);
        return row.bytes.subarray(from - row.start);
      },
      lastCommit: (upTo: Offset) => stage.rows.findLast(({ end }) => end <= upTo)?.end ?? null,
      trim: (upTo: Offset) => {
        stage.rows = stage.rows.filter(({ end }) => end > upTo);
        return false;
      },
    } as unknown as StateStore;
  }
}

test('a bookmark that is due when too much is pending does not make those lose it who read it from the stream', async () => {
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

test('a bookmark that is due when a full resync replaces everything does not keep followers from going on', async () => {
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
  stage.head.replaceKeyspace(
    new FakeKeyspace({ runId: RUN_ID, offset: offset(5_000_000) }, entries).asKeyspace,
  );
  stage.rows = [];
  stage.feed.replaced();
  stage.set('2');
  await stage.world.settle();
  stage.set('3');
  await stage.world.settle();
  assert.deepEqual(socket.seen, ['continue', 'reset', '2', 'new', 'synced', '3']);
});

test('those who read from the stream what is pending begin where the journal still is', async () => {
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

test('a snapshot that is begun anew while its follower takes nothing leaves no reader behind', async () => {
  const value = Buffer.alloc(200 * KIB, 'x');
  const entries = new Map(['a', 'b', 'c', 'd'].map((key) => [key, { value, version: 1, expiresAt: null }]));
  const old = new FakeKeyspace({ runId: RUN_ID, offset: ZERO }, entries);
  const stage = new Stage(MIB, old);
  const { socket, events } = stage.follow('prefix=', true);
  await stage.world.settle();
  assert.equal(old.openReaders, 1);
  const next = new FakeKeyspace({ runId: RUN_ID, offset: offset(5_000_000) }, entries);
  stage.head.replaceKeyspace(next.asKeyspace);
  stage.feed.replaced();
  await stage.world.settle();
  assert.equal(old.openReaders, 0);
  socket.isStuck = false;
  socket.bufferedBytes = 0;
  events.drained();
  await stage.world.settle();
  assert.equal(next.openReaders, 0);
  assert.deepEqual(socket.seen.slice(-6), ['reset', 'a', 'b', 'c', 'd', 'synced']);
});

test('a long poll that joined while others are given something ends when its time is up', async () => {
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
