/** Which keys differ between two positions: what is told is true, and what is not known is not told. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type Difference, type DiffRequest, Diffs } from '../../src/node/upkeep/diff/diffs.ts';
import type { ChangedKey } from '../../src/node/upkeep/diff/touched-keys.ts';
import { type Offset, offset, type Position } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { runId } from '../support/arbitraries.ts';
import { KIB, keyspaceAt, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';
import { seeded } from '../support/random.ts';

const GONE = new AbortController().signal;

function at(position: number): Position {
  return { runId: RUN_ID, offset: offset(position) };
}

/** A stream, what was there at each of its positions, and where a write removed everything. */
class Told {
  readonly stage: Stage;
  readonly diffs: Diffs;
  readonly states: { readonly at: Offset; readonly entries: ReadonlyMap<string, number> }[] = [];
  readonly flushes: Offset[] = [];
  #entries = new Map<string, number>();

  constructor(backlogBytes = MIB) {
    this.stage = new Stage(backlogBytes);
    const { head, positions, world } = this.stage;
    this.diffs = new Diffs({
      world,
      head,
      positions,
      isMaster: () => this.stage.isMaster,
      closing: () => false,
    });
    this.#remember();
  }

  get now(): Offset {
    return this.stage.head.offset;
  }

  /** Commits as a master does: it deletes, and changes the expiry of, only what is there. */
  commit(commands: readonly Command[]): void {
    const isBatch = commands.length > 1;
    const before = this.now;
    if (isBatch) this.stage.commitTransaction(...commands);
    else this.stage.commit(...commands);
    for (const command of commands) {
      if (command.kind === 'set') this.#entries.set(command.key, before);
      if (command.kind === 'del') for (const key of command.keys) this.#entries.delete(key);
      if (command.kind === 'flush-all') {
        this.#entries.clear();
        this.flushes.push(this.now);
      }
    }
    this.#remember();
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  #remember(): void {
    this.states.push({ at: this.now, entries: new Map(this.#entries) });
  }

  page(request: Partial<DiffRequest> & { readonly from: Position }): Promise<Difference> {
    const whole = { to: null, prefix: '', after: null, limit: 1_000, timeoutMs: 0, client: 'c', ...request };
    return this.diffs.read(whole, GONE);
  }

  /** All pages together. */
  async all(from: number, to: number, prefix = '', limit = 3): Promise<Difference> {
    let after: string | null = null;
    const changes: ChangedKey[] = [];
    for (;;) {
      const page: Difference = await this.page({ from: at(from), to: at(to), prefix, after, limit });
      assert.ok(page.changes.length <= limit);
      changes.push(...page.changes);
      after = page.next;
      if (after === null) return { ...page, changes };
    }
  }

  set(key: string, value = 'v'): void {
    this.commit([{ kind: 'set', key, value: Buffer.from(value), expiresAt: null }]);
  }
}

/** Commands of one write that a master would make. */
function randomWrite(told: Told, below: (most: number) => number): readonly Command[] {
  const staged = new Map<string, boolean>();
  const has = (key: string): boolean => staged.get(key) ?? told.has(key);
  const commands: Command[] = [];
  for (let count = below(5) === 0 ? 1 + below(4) : 1; count > 0; count -= 1) {
    const key = `${'ab'[below(2)]}${below(8)}`;
    const kind = below(12);
    if (kind === 0 && below(4) === 0) {
      commands.push({ kind: 'flush-all' });
      for (const each of ['a', 'b']) for (let n = 0; n < 8; n += 1) staged.set(`${each}${n}`, false);
    } else if (kind < 3 && has(key)) {
      commands.push({ kind: 'del', keys: [key] });
      staged.set(key, false);
    } else if (kind < 5 && has(key)) {
      commands.push(kind === 3 ? { kind: 'persist', key } : { kind: 'expire-at', key, expiresAt: 9e12 });
    } else {
      commands.push({ kind: 'set', key, value: Buffer.from(`${below(100)}`), expiresAt: null });
      staged.set(key, true);
    }
  }
  return commands;
}

test('between any two positions the keys are those that truly were added, changed and removed', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (most: number): number => Math.floor(random() * most);
  const told = new Told();
  for (let count = 0; count < 120; count += 1) told.commit(randomWrite(told, below));
  for (let round = 0; round < 150; round += 1) {
    const [first, last] = [below(told.states.length), below(told.states.length)].sort((a, b) => a - b);
    const [from, to] = [told.states[first as number], told.states[last as number]];
    assert.ok(from !== undefined && to !== undefined);
    const prefix = ['', 'a', 'b', 'none'][below(4)] as string;
    const { changes, flushed } = await told.all(from.at, to.at, prefix, 1 + below(6));
    const found = new Map(changes.map(({ key, change }) => [key, change]));
    assert.deepEqual([...found.keys()], [...found.keys()].sort());
    assert.equal(found.size, changes.length);
    const flushedAt = told.flushes.filter((each) => each > from.at && each <= to.at).at(-1);
    assert.equal(flushed?.offset, flushedAt);
    const keys = new Set([...from.entries.keys(), ...to.entries.keys()]);
    for (const key of [...keys].filter((each) => each.startsWith(prefix))) {
      const [before, after] = [from.entries.get(key), to.entries.get(key)];
      const change = found.get(key);
      found.delete(key);
      // The node does not know which keys a FLUSHALL has removed, unless they are written in between.
      if (change === undefined && flushed !== null && after === undefined) continue;
      if (before === undefined) assert.equal(change, 'added', key);
      else if (after === undefined) assert.equal(change, 'removed', key);
      else if (before !== after) assert.equal(change, 'changed', key);
      // An entry with another expiry has changed too.
      else assert.ok(change === undefined || change === 'changed', key);
    }
    assert.deepEqual([...found], [], `from ${from.at} to ${to.at}`);
  }
});

test('what the stream does not say is told as not known', async () => {
  const told = new Told(2 * KIB);
  for (const key of ['old 1', 'old 2', 'old 3', 'old 4']) told.set(key);
  for (let count = 0; count < 8; count += 1) told.set('fill', 'x'.repeat(KIB));
  await told.stage.world.settle();
  const { firstOffset } = told.stage.head.window;
  assert.ok(firstOffset > 1, 'the backlog has the whole stream');
  const from = told.now;
  told.set('old 1', 'w');
  told.commit([{ kind: 'del', keys: ['old 2'] }]);
  told.commit([{ kind: 'persist', key: 'old 3' }]);
  told.set('new');
  told.set('passing');
  told.commit([{ kind: 'del', keys: ['passing'] }]);
  told.set('fill');
  const { changes } = await told.page({ from: at(from) });
  assert.deepEqual(
    changes.map(({ key, change }) => [key, change]),
    [
      ['fill', 'changed'],
      ['new', 'added-or-changed'],
      ['old 1', 'added-or-changed'],
      ['old 2', 'removed'],
      ['old 3', 'changed'],
      ['passing', 'removed-or-passing'],
    ],
  );
  assert.deepEqual(
    changes.map(({ version }) => version === null),
    [false, false, false, true, true, true],
  );
});

test('a version is that of the entry at the second position', async () => {
  const told = new Told();
  told.set('k', '1');
  told.set('k', '2');
  const version = told.now;
  told.commit([{ kind: 'expire-at', key: 'k', expiresAt: 9e12 }]);
  const to = told.now;
  told.set('k', '3');
  const { changes } = await told.page({ from: at(0), to: at(to) });
  assert.deepEqual(changes, [{ key: 'k', change: 'added', version }]);
});

test('a position that is not there any more, inside a write, or of another history is lost', async () => {
  const told = new Told(2 * KIB);
  for (let count = 0; count < 8; count += 1) told.set('fill', 'x'.repeat(KIB));
  await told.stage.world.settle();
  const { firstOffset } = told.stage.head.window;
  const extra = {
    code: 'POSITION_LOST',
    extra: {
      reason: 'behind-backlog',
      window: { from: `${RUN_ID}:${firstOffset - 1}`, to: `${RUN_ID}:${told.now}` },
    },
  };
  await assert.rejects(told.page({ from: at(0) }), extra);
  const lost = async (reason: string, request: Partial<DiffRequest> & { from: Position }): Promise<void> => {
    await assert.rejects(told.page(request), ({ code, extra: more }) => {
      assert.deepEqual([code, more.reason], ['POSITION_LOST', reason]);
      return true;
    });
  };
  await lost('different-bytes', { from: at(told.now - 1) });
  await assert.rejects(told.page({ from: at(told.now - 1) }), /\(different-bytes: no write ends there\)/);
  await lost('different-bytes', { from: at(told.now), to: at(told.now - 1) });
  await lost('ahead-of-master', { from: at(told.now + 1) });
  await lost('ahead-of-master', { from: at(told.now), to: at(told.now + 1) });
  await lost('unknown-run-id', { from: { runId: runId('f'), offset: told.now } });
  const before = told.now;
  told.set('k');
  await assert.rejects(told.page({ from: at(told.now), to: at(before) }), { code: 'BAD_REQUEST' });
});

test('positions of an older run ID are as good, up to where it is shared', async () => {
  const told = new Told();
  told.set('a');
  const from = told.now;
  told.set('b');
  const to = told.now;
  told.stage.rename(runId('e'));
  told.set('c');
  const old = await told.page({ from: at(from), to: at(to) });
  assert.deepEqual(
    old.changes.map(({ key }) => key),
    ['b'],
  );
  const rest = await told.page({ from: at(from) });
  assert.deepEqual([rest.to.runId, rest.changes.map(({ key }) => key)], [runId('e'), ['b', 'c']]);
  await assert.rejects(told.page({ from: at(told.now) }), { code: 'POSITION_LOST' });
});

test('a replica waits for positions that it has not reached, and says when it has not', async () => {
  const told = new Told();
  told.set('a');
  told.stage.isMaster = false;
  const next = told.now;
  const waiting = told.page({ from: at(0), to: at(next * 2), timeoutMs: 1_000 });
  await told.stage.world.pass(500);
  told.set('b');
  told.stage.positions.moved();
  assert.deepEqual(
    (await waiting).changes.map(({ key }) => key),
    ['a', 'b'],
  );
  const refused = assert.rejects(told.page({ from: at(next * 9), timeoutMs: 1_000 }), {
    code: 'NOT_REACHED',
  });
  await told.stage.world.pass(1_000);
  await refused;
});

test('a full resync in the middle ends a difference, and so does a client that leaves', async () => {
  const told = new Told();
  for (let count = 0; count < 300; count += 1) told.set(`${count}`, 'x'.repeat(KIB));
  const { world } = told.stage;
  // Each look at the clock ends a turn.
  const { monotonic } = world;
  world.monotonic = () => {
    world.ms += 3;
    return world.ms;
  };
  const running = told.page({ from: at(0) });
  const refused = assert.rejects(running, { code: 'POSITION_LOST' });
  await world.turn();
  told.stage.replace(keyspaceAt({ runId: runId('d'), offset: offset(50) }, new Map()), {
    runId: runId('d'),
    lineage: [],
  });
  await finished(told, refused);

  const other = new Told();
  for (let count = 0; count < 300; count += 1) other.set(`${count}`, 'x'.repeat(KIB));
  other.stage.world.monotonic = world.monotonic;
  const client = new AbortController();
  const request = { from: at(0), to: null, prefix: '', after: null, limit: 10, timeoutMs: 0, client: 'c' };
  const left = assert.rejects(other.diffs.read(request, client.signal), { code: 'NOT_REACHED' });
  const second = other.diffs.read(request, GONE);
  await assert.rejects(other.diffs.read(request, GONE), { code: 'TOO_MANY_REQUESTS' });
  client.abort();
  await finished(other, left);
  assert.equal((await finished(other, second)).changes.length, 10);
  world.monotonic = monotonic;
});

/** @returns the result, when the clock has gone on for as long as the work rests */
async function finished<T>({ stage: { world } }: Told, work: Promise<T>): Promise<T> {
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  work.then(over, over);
  for (let waits = 0; !isOver; waits += 1) {
    assert.ok(waits < 1_000, 'it does not end');
    await world.settle();
    await world.pass(100);
  }
  return work;
}

test('differences that wait for a position take no place, and those of one client leave places to others', async () => {
  const told = new Told();
  const { world } = told.stage;
  for (let count = 0; count < 300; count += 1) told.set(`${count}`, 'x'.repeat(KIB));
  told.stage.isMaster = false;
  const page = (client: string, from = at(0)): Promise<Difference> =>
    told.page({ client, from, limit: 10, timeoutMs: 600_000 });
  const refused = { code: 'TOO_MANY_REQUESTS' };
  const waiting = Array.from({ length: 20 }, () =>
    assert.rejects(page('first', at(10 ** 9)), { code: 'NOT_REACHED' }),
  );
  await world.settle();
  const { monotonic } = world;
  world.monotonic = () => {
    world.ms += 3;
    return world.ms;
  };
  const made = [page('first'), page('first')];
  await assert.rejects(page('first'), refused);
  made.push(page('second'), page('second'));
  await assert.rejects(page('second'), refused);
  await assert.rejects(page('third'), refused);
  for (const { changes } of await finished(told, Promise.all(made))) assert.equal(changes.length, 10);
  assert.equal((await finished(told, page('third'))).changes.length, 10);
  world.monotonic = monotonic;
  await world.pass(600_000);
  await Promise.all(waiting);
});

test('after a large write is read, all differences rest for the share of others', async () => {
  const told = new Told(8 * MIB);
  const { head, world } = told.stage;
  for (let count = 0; count < 4; count += 1) told.set(`${count}`, 'x'.repeat(MIB));
  const read = head.read.bind(head);
  let reads = 0;
  head.read = (after, enoughBytes) => {
    reads += 1;
    world.ms += 50;
    return read(after, enoughBytes);
  };
  const made = [told.page({ from: at(0) }), told.page({ from: at(0), client: 'other' })];
  await world.settle();
  assert.ok(reads > 0 && reads <= 2, `${reads} reads before the rest`);
  const before = reads;
  await world.pass(100);
  assert.equal(reads, before);
  for (const { changes } of await finished(told, Promise.all(made))) assert.equal(changes.length, 4);
});
