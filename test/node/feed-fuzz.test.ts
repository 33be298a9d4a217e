/**
 * Random followers of a random stream, over turns of the event loop that the seed chooses: whoever is slow, gone or asks
 * again, each has seen between two snapshots what was written of its prefixes, once and in order, and ends up with what
 * there is. Afterwards nothing is left behind. `PSYNCD_SEED=N` repeats a run exactly.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { FollowerEvents } from '../../src/node/ports/follower-socket.ts';
import { Problem } from '../../src/node/problem.ts';
import { type Offset, offset, type RunId } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { array } from '../../src/stream/encoder.ts';
import { after, type Keyspace } from '../support/arbitraries.ts';
import { type FakeSocket, KIB, keyspaceAt, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';
import { Mirror, type Step } from '../support/mirror.ts';
import { seeded } from '../support/random.ts';

const RUNS = Number(process.env.PSYNCD_RUNS ?? 25);
const STEPS = 120;
const CHOICES: readonly (readonly string[])[] = [[], ['a'], ['b'], ['a1', 'b'], ['ab', 'c'], ['none']];

/** One connection of a client, and what it makes of it. */
class Client {
  readonly mirror: Mirror;
  socket: FakeSocket | null = null;
  #events: FollowerEvents | null = null;
  #taken = 0;

  constructor(prefixes: readonly string[]) {
    this.mirror = new Mirror(prefixes);
  }

  get isOpen(): boolean {
    return this.socket !== null;
  }

  connect(stage: Stage, extra: string, isStuck: boolean): void {
    const query = new URLSearchParams(
      this.mirror.prefixes.map((prefix): [string, string] => ['prefix', prefix]),
    );
    if (this.mirror.position !== null) query.set('position', this.mirror.position);
    this.mirror.connect();
    this.#taken = 0;
    const { socket, events } = stage.follow(`${query}${extra}`, isStuck);
    this.socket = socket;
    this.#events = events;
  }

  /** Takes what the socket let through: of a stuck one everything too, as if it had been on its way. */
  take(): void {
    const { socket } = this;
    if (socket === null) return;
    for (const event of socket.events.slice(this.#taken)) {
      this.#taken += 1;
      assert.notEqual(event.type, 'error', JSON.stringify(event));
      this.mirror.take(event);
    }
    if (socket.closed !== null) this.disconnect();
  }

  release(): void {
    this.socket?.release();
    this.#events?.drained();
  }

  disconnect(): void {
    this.#events?.closed();
    this.socket = null;
    this.#events = null;
  }
}

class Play {
  readonly stage: Stage;
  readonly #below: (limit: number) => number;
  readonly clients: readonly Client[];
  readonly steps: Step[] = [];
  state: Keyspace = new Map();
  keyspaces: ReturnType<typeof keyspaceAt>[];
  #renames = 0;
  readonly #bystanders: FollowerEvents[] = [];

  constructor(seed: number) {
    const { random } = seeded(seed);
    this.#below = (limit) => Math.floor(random() * limit);
    this.keyspaces = [keyspaceAt({ runId: RUN_ID, offset: offset(0) }, new Map())];
    this.stage = new Stage(this.#of([16 * KIB, 256 * KIB, 8 * MIB]), this.keyspaces[0]);
    this.clients = Array.from({ length: 6 }, () => new Client(this.#of(CHOICES)));
    if (this.#below(8) === 0) this.#addBystanders();
  }

  /** So many that a round takes several turns. */
  #addBystanders(): void {
    for (let count = 0; count < 140; count += 1) {
      const { socket, events } = this.stage.follow('position=now');
      socket.isBystander = true;
      this.#bystanders.push(events);
    }
  }

  async step(): Promise<void> {
    const { stage } = this;
    const draw = this.#below(100);
    const client = this.#of(this.clients);
    if (draw < 30) this.#write();
    else if (draw < 50) await stage.world.turn();
    else if (draw < 58) await stage.world.pass(this.#of([1, 60, 600, 2_500]));
    else if (draw < 75) {
      if (client.isOpen) return;
      const extra = this.#of(['', '', '', '&limit=1', '&limit=3', '&wait=0', '&wait=0.5', '&limit=2&wait=1']);
      client.connect(stage, extra, this.#below(3) === 0);
    } else if (draw < 83) client.release();
    else if (draw < 88) {
      if (client.socket !== null) client.socket.isStuck = true;
    } else if (draw < 93) {
      client.take();
      client.disconnect();
    } else if (draw < 96) this.#rename();
    else if (draw < 98) this.#replace();
    else await stage.world.settle();
    for (const each of this.clients) each.take();
  }

  async end(): Promise<void> {
    const { stage } = this;
    for (const client of this.clients) {
      if (!client.isOpen) client.connect(stage, '', false);
      client.release();
    }
    for (let turn = 0; turn < 3; turn += 1) {
      await stage.world.settle();
      await stage.world.pass(11_000);
      for (const client of this.clients) {
        client.take();
        if (!client.isOpen) client.connect(stage, '', false);
        client.release();
      }
    }
    for (const { mirror } of this.clients) this.#compare(mirror);
    for (const client of this.clients) client.disconnect();
    for (const events of this.#bystanders) events.closed();
    await stage.world.settle();
    await stage.world.pass(1_000);
    assert.equal(stage.feed.status.followers, 0);
    for (const { openReaders } of this.keyspaces) assert.equal(openReaders, 0, 'a reader was left behind');
    this.#write();
    await stage.world.pass(100);
    const needed = stage.head.offset - stage.head.backlog.size;
    for (const { end } of stage.rows) assert.ok(end > needed, 'the journal was not trimmed');
    assert.equal(stage.world.timers, 0, 'a timer was left behind');
  }

  #compare(mirror: Mirror): void {
    const wants = (key: string): boolean =>
      mirror.prefixes.length === 0 || mirror.prefixes.some((prefix) => key.startsWith(prefix));
    const what = `${mirror.prefixes} at ${mirror.position}, of ${this.stage.head.offset}`;
    assert.equal(mirror.offset, this.stage.head.offset, what);
    const versions = (entries: Iterable<readonly [string, { readonly version: number }]>): unknown =>
      [...entries]
        .filter(([key]) => wants(key))
        .map(([key, { version }]) => `${key} ${version}`)
        .sort();
    assert.deepEqual(versions(mirror.entries), versions(this.state), what);
    for (const [index, { base, steps }] of mirror.segments.entries()) {
      const isLast: boolean = index === mirror.segments.length - 1;
      const to: number = isLast ? mirror.offset : (steps.at(-1)?.offset ?? base);
      const expected: string[] = this.steps
        .filter((each) => each.offset > base && each.offset <= to)
        .map((each) => ({
          offset: each.offset,
          changes: each.changes.filter(({ key }) => key === undefined || wants(key)),
        }))
        .filter(({ changes }) => changes.length > 0)
        .map((each) => `${each.offset} ${each.changes.map(({ type, key }) => `${type} ${key}`)}`);
      const seen = steps.map(
        (each) => `${each.offset} ${each.changes.map(({ type, key }) => `${type} ${key}`)}`,
      );
      assert.deepEqual(seen, expected, what);
    }
  }

  #write(): void {
    const from = this.stage.head.offset;
    const commands = Array.from({ length: 1 + this.#below(4) }, () => this.#command());
    if (this.#below(3) === 0) {
      this.stage.commitTransaction(...commands);
      this.#note(commands, from, true);
    } else {
      this.stage.commit(...commands);
      this.#note(commands, from, false);
    }
  }

  /** What the stream says, reckoned here: where each command ends. */
  #note(commands: readonly Command[], from: number, isTransaction: boolean): void {
    let at = from + (isTransaction ? array(['MULTI']).length : 0);
    let changes: Step['changes'][number][] = [];
    for (const command of commands) {
      at += lengthOf(command);
      this.state = after(this.state, command, at);
      changes.push(...changesOf(command));
      if (isTransaction) continue;
      this.steps.push({ offset: at, changes });
      changes = [];
    }
    if (isTransaction) this.steps.push({ offset: at + array(['EXEC']).length, changes });
  }

  #command(): Command {
    const key = this.#of(['a1', 'a2', 'ab', 'b1', 'b2', 'c', 'd']);
    const draw = this.#below(20);
    if (draw < 2) return { kind: 'del', keys: [key, this.#of(['a3', 'b3', 'e'])] };
    if (draw < 3) return { kind: 'flush-all' };
    const bytes = this.#of([0, 10, 100, 1_000, 20_000, 100_000, ...(this.#below(8) === 0 ? [3 * MIB] : [])]);
    return { kind: 'set', key, value: Buffer.alloc(bytes, 'x'), expiresAt: null };
  }

  #rename(): void {
    this.#renames += 1;
    this.stage.rename(this.#renames.toString(16).padStart(40, '0') as RunId);
  }

  /** A full resync, of a state that may be further than this node was. */
  #replace(): void {
    const { stage } = this;
    let at: number = stage.head.offset;
    for (let count = this.#below(3); count > 0; count -= 1) {
      const command = this.#command();
      this.#note([command], at, false);
      at += lengthOf(command);
    }
    const keyspace = keyspaceAt({ runId: stage.history.runId, offset: at as Offset }, this.state);
    this.keyspaces.push(keyspace);
    stage.replace(keyspace, stage.history);
  }

  #of<T>(choices: readonly T[]): T {
    return choices[this.#below(choices.length)] as T;
  }
}

function lengthOf(command: Command): number {
  if (command.kind === 'flush-all') return array(['FLUSHALL']).length;
  if (command.kind === 'del') return array(['DEL', ...command.keys]).length;
  if (command.kind !== 'set') throw new Error(command.kind);
  const { length } = command.value;
  return array(['SET', command.key, '']).length - 1 + String(length).length + length;
}

function changesOf(command: Command): Step['changes'] {
  if (command.kind === 'flush-all') return [{ type: 'flush' }];
  if (command.kind === 'del') return command.keys.map((key) => ({ type: 'delete', key }));
  return [{ type: command.kind, key: command.key }];
}

test(`${RUNS} random runs: nothing is lost, doubled or left behind`, async (t) => {
  const { seed } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  for (let run = seed; run < seed + RUNS; run += 1) {
    const play = new Play(run);
    try {
      for (let step = 0; step < STEPS; step += 1) await play.step();
      await play.end();
    } catch (error) {
      assert.ok(!(error instanceof Problem));
      throw new Error(`PSYNCD_SEED=${run} PSYNCD_RUNS=1: ${error}`, { cause: error });
    }
  }
});
