import assert from 'node:assert/strict';
import test from 'node:test';
import { ALWAYS } from '../../src/keyspace/condition.ts';
import { type Entry, outlineOf } from '../../src/keyspace/entry.ts';
import { Refusal } from '../../src/keyspace/refusal.ts';
import type { WriteRequest } from '../../src/keyspace/write.ts';
import { admissionFor } from '../../src/node/head/admission.ts';
import type { World } from '../../src/node/ports/world.ts';
import { Problem } from '../../src/node/problem.ts';
import { deletePrefix } from '../../src/node/write/delete-prefix.ts';
import { overlayBytesOf } from '../../src/node/write/request-size.ts';
import {
  BULK_BYTES,
  MAX_TURN_BYTES,
  MAX_TURN_LOOKUPS,
  MAX_TURN_READ_BYTES,
  MAX_WAITING_BYTES,
  WriteTurn,
} from '../../src/node/write/write-turn.ts';
import { type Offset, offset, type RunId } from '../../src/replication/position.ts';
import type { Run } from '../../src/stream/command.ts';
import { SILENT } from '../support/silent-log.ts';

const condition = {};

/** A write turn over a head that does what it is told, in a world that goes on by steps. */
class Stage {
  full = false;
  crowded = false;
  pauseMs = 0;
  /** What a bulk request may bring. */
  mostBytes = Number.POSITIVE_INFINITY;
  /** How many keys each turn set. */
  readonly turns: number[] = [];
  readonly answered: string[] = [];
  /** What stands at every key. */
  stored: Entry | null = null;
  readonly writes: WriteTurn;
  #offset = 0;
  #soon: (() => void)[] = [];
  #paused: (() => void)[] = [];
  #waiters: (() => void)[] = [];

  constructor() {
    const world = {
      now: () => 0,
      monotonic: () => 0,
      soon: (callback: () => void) => this.#soon.push(callback),
      after: (_ms: number, callback: () => void) => {
        this.#paused.push(callback);
        return () => undefined;
      },
    } as unknown as World;
    const stage = this;
    const head = {
      get offset(): Offset {
        return offset(stage.#offset);
      },
      get position() {
        return { runId: 'a'.repeat(40) as RunId, offset: offset(stage.#offset) };
      },
      expiry: () => null,
      appliedCount: 0,
      knowsAbove: () => false,
      below: () => null,
      expiryBelow: () => null,
      has: () => true,
      outline: () => stage.stored && outlineOf(stage.stored),
      raw: () => stage.stored,
      commit: (run: Run) => {
        stage.#offset += run.bytes.length;
        stage.turns.push(run.commands.length);
      },
      admission: (bulkBytes: number) =>
        admissionFor(stage.full, stage.crowded, bulkBytes <= stage.mostBytes, stage.pauseMs),
      whenRoom: (callback: () => void) => void stage.#waiters.push(callback),
    };
    this.writes = new WriteTurn({ world, log: SILENT, head, guard: () => null });
  }

  submit(name: string, request: WriteRequest): void {
    void this.writes.submit(request).then(() => this.answered.push(name));
  }

  single(name: string): void {
    this.submit(name, { kind: 'set', key: name, value: Buffer.from('v'), expiresAt: null, condition });
  }

  bulk(name: string, bytes = BULK_BYTES): void {
    this.submit(name, {
      kind: 'load',
      commands: [{ kind: 'set', key: name, value: Buffer.alloc(bytes), expiresAt: null }],
    });
  }

  batch(name: string, operations: number): void {
    const set = (key: string) =>
      ({ kind: 'set', key, value: Buffer.from('v'), expiresAt: null, condition }) as const;
    this.submit(name, {
      kind: 'batch',
      operations: Array.from({ length: operations }, (_, index) => set(`${name}${index}`)),
    });
  }

  /** One turn of the event loop. */
  async step(): Promise<void> {
    for (const callback of this.#soon.splice(0)) callback();
    await Promise.resolve();
  }

  /** Everything that is due, until nothing is. */
  async settle(): Promise<void> {
    while (this.#soon.length > 0) await this.step();
    await Promise.resolve();
  }

  async pauseEnds(): Promise<void> {
    this.pauseMs = 0;
    for (const callback of this.#paused.splice(0)) callback();
    await this.settle();
  }

  async hasRoom(): Promise<void> {
    this.full = false;
    this.crowded = false;
    for (const callback of this.#waiters.splice(0)) callback();
    await this.settle();
  }
}

test('single writes go on while an import waits for the applier', async () => {
  const stage = new Stage();
  stage.crowded = true;
  stage.bulk('import');
  await stage.settle();
  stage.single('a');
  await stage.settle();
  stage.single('b');
  await stage.settle();
  assert.deepEqual(stage.answered, ['a', 'b']);
  await stage.hasRoom();
  assert.deepEqual(stage.answered, ['a', 'b', 'import']);
});

test('only large requests are paused, and all requests once the large ones have used their share', async () => {
  const stage = new Stage();
  stage.pauseMs = 10;
  stage.bulk('import');
  stage.single('a');
  await stage.settle();
  assert.deepEqual(stage.answered, ['a']);
  stage.crowded = true;
  stage.single('b');
  await stage.settle();
  assert.deepEqual(stage.answered, ['a']);
  await stage.pauseEnds();
  assert.deepEqual(stage.answered, ['a', 'b']);
  await stage.hasRoom();
  assert.deepEqual(stage.answered, ['a', 'b', 'import']);
});

test('a paused single write is decided after its pause, even while a bulk request still waits for room', async () => {
  const stage = new Stage();
  stage.crowded = true;
  stage.bulk('import');
  await stage.settle();
  stage.pauseMs = 10;
  stage.single('a');
  await stage.settle();
  assert.deepEqual(stage.answered, []);
  await stage.pauseEnds();
  assert.deepEqual(stage.answered, ['a']);
});

test('while the overlay is full all writes wait, and then all of them are done', async () => {
  const stage = new Stage();
  stage.full = true;
  stage.crowded = true;
  stage.bulk('import');
  stage.single('a');
  await stage.settle();
  assert.deepEqual(stage.answered, []);
  await stage.hasRoom();
  assert.deepEqual(stage.answered, ['a', 'import']);
});

test('bulk requests get every other turn when single writes fill all turns', async () => {
  const stage = new Stage();
  for (const name of ['x', 'y']) stage.bulk(name, MAX_TURN_BYTES);
  const value = Buffer.alloc(BULK_BYTES / 2);
  for (let index = 0; index < 64; index += 1) {
    stage.submit('single', { kind: 'set', key: `k${index}`, value, expiresAt: null, condition });
  }
  await stage.settle();
  const singles = MAX_TURN_BYTES / value.length;
  assert.deepEqual(stage.turns.slice(0, 4), [singles, 1, singles, 1]);
  assert.equal(stage.answered.length, 66);
});

test('a single write waits for at most one of the waiting bulk requests', async () => {
  const stage = new Stage();
  for (const name of ['x', 'y', 'z']) stage.batch(name, MAX_TURN_LOOKUPS);
  stage.single('a');
  await stage.step();
  stage.single('b');
  await stage.step();
  stage.single('c');
  await stage.settle();
  assert.deepEqual(stage.answered, ['a', 'x', 'b', 'c', 'y', 'z']);
  assert.deepEqual(stage.turns, [1, MAX_TURN_LOOKUPS, 2, MAX_TURN_LOOKUPS, MAX_TURN_LOOKUPS]);
});

test('a bulk request that would take the room of single writes waits, and the single writes go on', async () => {
  const stage = new Stage();
  stage.mostBytes = 2 * BULK_BYTES;
  stage.bulk('large', 3 * BULK_BYTES);
  stage.single('a');
  await stage.settle();
  assert.deepEqual(stage.answered, ['a']);
  stage.mostBytes = 4 * BULK_BYTES;
  await stage.hasRoom();
  assert.deepEqual(stage.answered, ['a', 'large']);
});

test('a turn ends when it has looked up many keys; a request is never divided', async () => {
  const stage = new Stage();
  const size = (MAX_TURN_LOOKUPS * 3) / 5;
  for (const name of ['a', 'b', 'c']) stage.batch(name, size);
  await stage.settle();
  assert.deepEqual(stage.turns, [2 * size, size]);
});

test('a turn ends after as many lookups of one key as of many keys', async () => {
  const stage = new Stage();
  const size = (MAX_TURN_LOOKUPS * 3) / 5;
  const increment = { kind: 'increment', key: 'k', by: 1n, condition: ALWAYS } as const;
  for (const name of ['a', 'b', 'c']) {
    stage.submit(name, { kind: 'batch', operations: Array.from({ length: size }, () => increment) });
  }
  await stage.settle();
  assert.deepEqual(stage.turns, [2 * size, size]);
});

test('a turn ends when it has read many bytes of values', async () => {
  const stage = new Stage();
  stage.stored = { value: Buffer.alloc(MAX_TURN_READ_BYTES / 2), version: 1, expiresAt: null };
  for (const key of ['a', 'b', 'c', 'd', 'e']) {
    stage.submit(key, { kind: 'expire', key, expiresAt: Number.MAX_SAFE_INTEGER, condition: ALWAYS });
  }
  await stage.settle();
  assert.deepEqual(stage.turns, [2, 2, 1]);
});

test('the last turns before a stop write all requests, even those that would have to wait', async () => {
  const stage = new Stage();
  stage.full = true;
  stage.crowded = true;
  stage.bulk('import');
  stage.single('a');
  stage.writes.drain();
  await stage.settle();
  assert.deepEqual(stage.answered, ['a', 'import']);
});

/** A sender who may lose the right to write. */
class Owner {
  readonly client: string;
  over: Problem | null = null;

  constructor(client = 'owner') {
    this.client = client;
  }

  lose(): void {
    this.over = new Problem('UNAUTHORIZED', 'the token is not valid');
  }

  atDecision(): Problem | null {
    return this.over;
  }
}

test('a write whose sender loses the right while it waits is refused, and nothing of it is written', async () => {
  const stage = new Stage();
  const owner = new Owner();
  const release = stage.writes.hold();
  const set = { kind: 'set', key: 'mine', value: Buffer.from('v'), expiresAt: null, condition } as const;
  const refused = assert.rejects(stage.writes.submit(set, owner), { code: 'UNAUTHORIZED' });
  stage.single('other');
  owner.lose();
  release();
  await stage.settle();
  await refused;
  assert.deepEqual(stage.answered, ['other']);
  assert.deepEqual(stage.turns, [1]);
});

test('writes whose sender has lost the right give back their memory while a hand-over holds them', async () => {
  const stage = new Stage();
  const owner = new Owner();
  const release = stage.writes.hold();
  const load = (bytes: number): WriteRequest => ({
    kind: 'load',
    commands: [{ kind: 'set', key: 'k', value: Buffer.alloc(bytes), expiresAt: null }],
  });
  const large = assert.rejects(stage.writes.submit(load(MAX_WAITING_BYTES), owner), { code: 'UNAUTHORIZED' });
  await assert.rejects(stage.writes.submit(load(1), new Owner()), { code: 'TOO_MANY_REQUESTS' });
  stage.writes.refuseOver();
  await assert.rejects(stage.writes.submit(load(1), new Owner()), { code: 'TOO_MANY_REQUESTS' });
  owner.lose();
  stage.writes.refuseOver();
  await large;
  stage.single('other');
  release();
  await stage.settle();
  assert.deepEqual(stage.answered, ['other']);
});

test('what a patched value is does not change how much memory its request counts', async () => {
  const before = Buffer.alloc(1024 * 1024, ' ');
  const counted = (after: Buffer | Refusal): number => {
    const stage = new Stage();
    stage.writes.hold();
    const patch = { kind: 'merge-patch', key: 'k', patch: {}, patchBytes: 2, condition: ALWAYS } as const;
    const request = { ...patch, prepared: { before, after } } as unknown as WriteRequest;
    stage.submit('patch', request);
    assert.ok(stage.writes.waitingBytes > 2 * before.length);
    return stage.writes.waitingBytes + overlayBytesOf(request);
  };
  const sizes = [Buffer.alloc(1), before, new Refusal('NOT_JSON', 'it is not JSON')].map(counted);
  assert.equal(new Set(sizes).size, 1, `${sizes}`);
});

test('a refusal for want of room tells no size of what others write', async () => {
  const stage = new Stage();
  stage.writes.hold();
  stage.bulk('other', MAX_WAITING_BYTES);
  const value = Buffer.alloc(MAX_WAITING_BYTES / 2);
  const set = { kind: 'set', key: 'k', value, expiresAt: null, condition } as const;
  await assert.rejects(stage.writes.submit(set), (error: Problem) => !/\d/.test(error.message));
});

test('a client whose writes wait leaves room for the writes of another one, who learns their size only roughly', () => {
  const MIB = 1024 * 1024;
  const set = (bytes: number): WriteRequest => {
    return { kind: 'set', key: 'k', value: Buffer.alloc(bytes), expiresAt: null, condition };
  };
  const greedy = new Owner('greedy');
  const other = new Owner('other');
  /** @returns how many requests the other one may have waiting, after the greedy one has so many bytes */
  const room = (bytes: number): number => {
    const stage = new Stage();
    stage.writes.hold();
    void stage.writes.submit(set(bytes), greedy);
    for (let count = 0; ; count += 1) {
      const before = stage.writes.waitingBytes;
      stage.writes.submit(set(MIB / 4), other).catch(() => undefined);
      if (stage.writes.waitingBytes === before) return count;
    }
  };
  assert.ok(room(MAX_WAITING_BYTES) > 100);
  assert.equal(room(129 * MIB), room(159 * MIB));
});

test('a deletion by prefix stops at the step before which its sender loses the right', async () => {
  const owner = new Owner();
  const steps: string[][] = [];
  const world = { soon: (callback: () => void) => setImmediate(callback) } as unknown as World;
  const names = ['a', 'b', 'c'];
  const head = {
    position: { runId: 'a'.repeat(40) as RunId, offset: offset(0) },
    lastPageMs: 0,
    page: (request: { after: string | null }) => {
      const index = request.after === null ? 0 : names.indexOf(request.after) + 1;
      const key = names[index] as string;
      return Promise.resolve({
        entries: [{ key, version: 1, size: 1, expiresAt: null, value: null }],
        next: index + 1 < names.length ? key : null,
      });
    },
  };
  const writes = {
    singles: 0,
    lastTurnMs: 0,
    submit: (request: WriteRequest, sender: Owner) => {
      if (sender.over !== null) return Promise.reject(sender.over);
      if (request.kind === 'delete-many') steps.push([...request.keys]);
      if (steps.length === 2) owner.lose();
      return Promise.resolve({ results: [], count: 1, position: '' });
    },
  };
  const parts = { world, head, writes } as unknown as Parameters<typeof deletePrefix>[0];
  await assert.rejects(deletePrefix(parts, '', owner), { code: 'UNAUTHORIZED' });
  assert.deepEqual(steps, [['a'], ['b']]);
});
