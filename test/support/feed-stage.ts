/**
 * A node's feed over a stream that the test writes: the event loop's turns, the clock and the followers' sockets are the
 * test's. The head of the stream is the real one, over a journal and a keyspace in memory.
 */
import assert from 'node:assert/strict';
import { setImmediate as settled } from 'node:timers/promises';
import { type Entry, outlineOf } from '../../src/keyspace/entry.ts';
import { compareKeys } from '../../src/keyspace/key.ts';
import type { Changes } from '../../src/keyspace/overlay/changes.ts';
import type { ListedEntry } from '../../src/keyspace/page.ts';
import { Feed } from '../../src/node/feed/feed.ts';
import { PositionWaiters } from '../../src/node/head/position-waiters.ts';
import { StreamHead } from '../../src/node/head/stream-head.ts';
import type {
  FollowerEvents,
  FollowerSocket,
  Keyspace,
  Log,
  StateStore,
  World,
} from '../../src/node/ports.ts';
import { type History, newHistory, renamed } from '../../src/replication/history.ts';
import { type Offset, offset, type Position, type RunId, ZERO } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { Encoder } from '../../src/stream/encoder.ts';
import { parseFeedRequest } from '../../src/web/feed-query.ts';
import { written } from '../simulation/written.ts';
import { runId } from './arbitraries.ts';
import type { FeedEvent } from './follower.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const RUN_ID = runId('a');

export const log: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Nothing happens by itself. */
export class FakeWorld implements World {
  /** Of the clock that nobody sets. */
  ms = 1_000_000;
  /** How wrong the wall clock is. */
  skewMs = 0;
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

export class FakeSocket implements FollowerSocket {
  readonly peer = 'test';
  readonly answersPings = false;
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

/** A keyspace file whose applier is at once done with everything. */
export class FakeKeyspace {
  readonly opened: Position;
  entries: ReadonlyMap<string, Entry>;
  openReaders = 0;
  #position: Position;

  constructor(opened: Position, entries: ReadonlyMap<string, Entry>) {
    this.opened = opened;
    this.#position = opened;
    this.entries = entries;
  }

  get asKeyspace(): Keyspace {
    return {
      opened: this.opened,
      get: (key: string) => this.entries.get(key) ?? null,
      outline: (key: string) => {
        const entry = this.entries.get(key);
        return entry === undefined ? null : outlineOf(entry);
      },
      expiry: (key: string) => this.entries.get(key)?.expiresAt,
      scan: (from: string, exclusive: boolean) =>
        listed(this.entries).filter(({ key }) => compareKeys(key, from) >= (exclusive ? 1 : 0)),
      flush: async (position: Position, changes: readonly Changes[]) => {
        for (const each of changes) {
          if (each.end > this.#position.offset) this.entries = written(this.entries, each);
        }
        this.#position = position;
      },
      readEntries: (prefixes: readonly string[]) => this.#read(prefixes),
    } as unknown as Keyspace;
  }

  #read(prefixes: readonly string[]): ReturnType<Keyspace['readEntries']> {
    const wanted = listed(this.entries).filter(({ key }) =>
      prefixes.some((prefix) => key.startsWith(prefix)),
    );
    let isOpen = true;
    this.openReaders += 1;
    return {
      position: this.#position,
      groups: (async function* groups() {
        for (const entry of wanted) yield [entry];
      })(),
      count: () => Promise.resolve(wanted.length),
      heldBytes: () => 0,
      close: () => {
        if (isOpen) this.openReaders -= 1;
        isOpen = false;
      },
    };
  }
}

function listed(entries: ReadonlyMap<string, Entry>): ListedEntry[] {
  return [...entries]
    .map(([key, entry]) => ({ key, size: entry.value.length, ...entry }))
    .sort((one, other) => compareKeys(one.key, other.key));
}

interface Row {
  readonly start: number;
  readonly end: number;
  readonly bytes: Buffer;
  /** The history hash before it. */
  readonly hash: bigint | null;
  readonly beginsChain: boolean;
}

/** A node's feed over a stream that the test writes. */
export class Stage {
  readonly world = new FakeWorld();
  readonly head: StreamHead;
  readonly feed: Feed;
  readonly positions: PositionWaiters;
  isMaster = true;
  rows: Row[] = [];
  history: History = newHistory(RUN_ID);

  /** @param rows the journal that an earlier process has left */
  constructor(
    backlogBytes = MIB,
    keyspace = new FakeKeyspace({ runId: RUN_ID, offset: ZERO }, new Map()),
    rows: readonly Row[] = [],
  ) {
    const { world } = this;
    this.rows = [...rows];
    this.head = StreamHead.recover({
      world,
      log,
      settings: { backlogBytes, overlayBytes: 1_024 * MIB, applyIntervalMs: 1 },
      state: this.#state(),
      keyspace: keyspace.asKeyspace,
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
      log,
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
    this.history = renamed(this.history, change);
    this.feed.renamed();
  }

  /** A full resync. */
  replace(keyspace: FakeKeyspace, history: History): void {
    this.history = history;
    this.rows = [];
    this.head.replaceKeyspace(keyspace.asKeyspace, null, false);
    this.feed.replaced();
  }

  #startUpTo(upTo: Offset): number | null {
    const [first] = this.rows;
    return first !== undefined && first.start <= upTo ? first.start : null;
  }

  #state(): StateStore {
    const stage = this;
    return {
      get history() {
        return stage.history;
      },
      get journalStart() {
        const [first] = stage.rows;
        return first === undefined ? null : offset(first.start);
      },
      get journalEnd() {
        const last = stage.rows.at(-1);
        return last === undefined ? null : offset(last.end);
      },
      settling: false,
      onSettled: () => undefined,
      toldHash: null,
      get chainStart() {
        const row = stage.rows.findLast(({ beginsChain }) => beginsChain);
        return row === undefined ? null : offset(row.start);
      },
      append: (end: Offset, bytes: Buffer, hash: bigint | null, beginsChain: boolean) => {
        stage.rows.push({ start: end - bytes.length, end, bytes, hash, beginsChain });
      },
      rowWith: (after: Offset) => stage.rows.find(({ start, end }) => start <= after && after < end) ?? null,
      read: (from: Offset) => {
        const row = stage.rows.find(({ start, end }) => start <= from && from < end);
        if (row === undefined) throw new Error(`byte ${from} is not in the journal`);
        return row.bytes.subarray(from - row.start);
      },
      lastCommit: (upTo: Offset) =>
        stage.rows.findLast(({ end }) => end <= upTo)?.end ?? stage.#startUpTo(upTo),
      trim: (upTo: Offset) => {
        stage.rows = stage.rows.filter(({ end }) => end > upTo);
        return false;
      },
    } as unknown as StateStore;
  }
}
