/**
 * A node's feed over a stream that the test writes: the event loop's turns, the clock and the followers' sockets are the
 * test's. The head of the stream is the real one, over a journal and a keyspace in memory.
 */
import assert from 'node:assert/strict';
import { setImmediate as settled } from 'node:timers/promises';
import type { Entry } from '../../src/keyspace/entry.ts';
import { Feed } from '../../src/node/feed/feed.ts';
import type { FeedRequest } from '../../src/node/feed/feed-request.ts';
import { PositionWaiters } from '../../src/node/head/position-waiters.ts';
import { StreamHead } from '../../src/node/head/stream-head.ts';
import type { FollowerEvents, FollowerSocket } from '../../src/node/ports/follower-socket.ts';
import type { World } from '../../src/node/ports/world.ts';
import { type History, renamed } from '../../src/replication/history.ts';
import { type Position, type RunId, ZERO } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { parseFeedRequest } from '../../src/web/feed-query.ts';
import { CALM, emptyDisk } from '../simulation/calm.ts';
import type { JournalRow } from '../simulation/disk.ts';
import { FakeKeyspace } from '../simulation/fake-keyspace.ts';
import { FakeState } from '../simulation/fake-state.ts';
import { runId } from './arbitraries.ts';
import type { FeedEvent } from './follower.ts';
import { SILENT } from './silent-log.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const RUN_ID = runId('a');

const UNWATCHED = { appended: () => undefined, saving: () => undefined, switching: () => undefined };

/** Nothing happens by itself. */
export class FakeWorld implements World {
  /** Of the clock that nobody sets. */
  ms = 1_000_000;
  /** How wrong the wall clock is. */
  skewMs = 0;
  #runIds = 0;
  #soon: (() => void)[] = [];
  #timers: { readonly at: number; readonly callback: () => void }[] = [];

  /** How many are set. */
  get timers(): number {
    return this.#timers.length;
  }

  now(): number {
    return this.ms + this.skewMs;
  }

  monotonic(): number {
    return this.ms;
  }

  random(): number {
    return 0.5;
  }

  newRunId(): RunId {
    this.#runIds += 1;
    return this.#runIds.toString(16).padStart(40, '0') as RunId;
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

export class FakeSocket implements FollowerSocket {
  readonly peer = 'test';
  client = 'client';
  readonly answersPings = false;
  readonly transport = 'ndjson';
  readonly framing = (json: string): Buffer => Buffer.from(`${json}\n`);
  readonly events: FeedEvent[] = [];
  bufferedBytes = 0;
  /** It takes nothing. */
  isStuck = false;
  /** It takes everything and looks at nothing. */
  isBystander = false;
  closed: { readonly code: number; readonly reason: string } | null = null;

  send(frames: Buffer): void {
    if (this.isBystander) return;
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

  /** It takes everything, from now on. */
  release(): void {
    this.isStuck = false;
    this.bufferedBytes = 0;
  }

  /** Keys of the changes, and the types of everything else but bookmarks. */
  get seen(): readonly string[] {
    return this.events.filter(({ type }) => type !== 'bookmark').map(({ type, key }) => key ?? type);
  }
}

/** @returns a keyspace file that does everything at once */
export function keyspaceAt(position: Position, entries: ReadonlyMap<string, Entry>): FakeKeyspace {
  const disk = emptyDisk(position.runId);
  disk.files.set(1, { position, entries });
  return new FakeKeyspace(disk, CALM, 1, (what) => assert.fail(what));
}

interface Row extends JournalRow {
  readonly start: number;
}

/** A node's feed over a stream that the test writes. */
export class Stage {
  readonly world = new FakeWorld();
  readonly head: StreamHead;
  readonly feed: Feed;
  readonly positions: PositionWaiters;
  isMaster = true;
  readonly #disk = emptyDisk(RUN_ID);

  /**
   * @param rows the journal that an earlier process has left
   * @param journalKeepBytes how much the journal keeps beyond the backlog
   * @param damaged ends of damaged rows
   */
  constructor(
    backlogBytes = MIB,
    keyspace = keyspaceAt({ runId: RUN_ID, offset: ZERO }, new Map()),
    rows: readonly JournalRow[] = [],
    journalKeepBytes = 0,
    damaged: readonly number[] = [],
  ) {
    const { world } = this;
    for (const row of rows) this.#disk.append(row);
    for (const end of damaged) this.damage(end);
    this.head = StreamHead.recover({
      world,
      log: SILENT,
      settings: {
        backlogBytes,
        journalKeepBytes,
        journalKeepMs: null,
        overlayBytes: 1_024 * MIB,
        applyIntervalMs: 1,
      },
      state: new FakeState(this.#disk, CALM, UNWATCHED, 'always', null),
      keyspace,
      freeBytes: () => Promise.resolve(Number.POSITIVE_INFINITY),
      failed: (error) => {
        throw error;
      },
    });
    const { head } = this;
    this.positions = new PositionWaiters(world, { maxWaiting: 10_000 }, () => ({
      position: head.position,
      history: head.history,
      settled: true,
    }));
    this.feed = new Feed({
      world,
      log: SILENT,
      head,
      positions: this.positions,
      settings: {
        maxFollowers: 1_000,
        followerOutputBytes: 1_024 * MIB,
        timeoutMs: 60_000,
        pingIntervalMs: 10_000,
      },
      isMaster: () => this.isMaster,
      closing: () => false,
    });
  }

  get history(): History {
    return this.#disk.row.history;
  }

  /** The rows of the journal, oldest first. */
  get rows(): readonly Row[] {
    return this.#disk.journal.map((row) => ({ ...row, start: row.end - row.bytes.length }));
  }

  /** Nothing can be read of the journal any more. */
  loseJournal(): void {
    this.#disk.emptyJournal();
  }

  /** The row of the journal that ends there is not what was written. */
  damage(end: number): void {
    this.#disk.damage(end);
  }

  follow(
    query: string,
    isStuck = false,
    client = 'client',
  ): { readonly socket: FakeSocket; readonly events: FollowerEvents } {
    const socket = new FakeSocket();
    socket.client = client;
    socket.isStuck = isStuck;
    return { socket, events: this.feed.attach(parseFeedRequest(`/?${query}`) as FeedRequest, socket) };
  }

  commit(...commands: readonly Command[]): void {
    const encoder = new Encoder();
    for (const command of commands) encoder.add(command);
    this.head.commit(encoder.finish());
  }

  /** At once, or not at all. */
  commitTransaction(...commands: readonly Command[]): void {
    const encoder = new Encoder();
    encoder.beginTransaction();
    for (const command of commands) encoder.add(command);
    encoder.endTransaction();
    this.head.commit(encoder.finish());
  }

  set(key: string, bytes = 1): void {
    this.commit({ kind: 'set', key, value: Buffer.alloc(bytes, 'x'), expiresAt: null });
  }

  /** The history goes on under another run ID. */
  rename(to: RunId): void {
    const change = { runId: to, validTo: this.head.offset, reason: 'promoted', at: 0 } as const;
    this.#disk.putRow({ history: renamed(this.history, change) });
    this.feed.renamed();
  }

  /** A full resync. */
  replace(keyspace: FakeKeyspace, history: History): void {
    this.#disk.putRow({ history });
    this.loseJournal();
    this.head.replaceKeyspace(keyspace, null, false);
    this.feed.replaced();
  }
}
