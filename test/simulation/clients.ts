/**
 * Clients of the nodes: they write, read and wait, and hold every answer against what the nodes have in their journals.
 * Every value is written once, so that it can be said of each whether it was.
 */
import { ALWAYS } from '../../src/keyspace/condition.ts';
import { isLive } from '../../src/keyspace/entry.ts';
import type { Operation, WriteRequest } from '../../src/keyspace/write.ts';
import { Problem } from '../../src/node/problem.ts';
import { formatHash } from '../../src/replication/history-hash.ts';
import { type Offset, type Position, parsePosition } from '../../src/replication/position.ts';
import type { Chance } from './chance.ts';
import type { EventLoop } from './event-loop.ts';
import type { Machine } from './machine.ts';
import type { Referee } from './referee.ts';
import type { Trace } from './trace.ts';

const KEYS = 16;
const COUNTERS = 3;
const EXPORT_MS = 400;
const WAIT_MS = 2_000;

export class Clients {
  readonly #chance: Chance;
  readonly #referee: Referee;
  readonly #trace: Trace;
  readonly #loop: EventLoop;
  /** How long values are, at most. */
  readonly #valueBytes: number;
  #written = 0;
  /** Positions that writes were answered with, the last ones. */
  #answered: string[] = [];

  constructor(loop: EventLoop, chance: Chance, referee: Referee, trace: Trace) {
    this.#loop = loop;
    this.#chance = chance;
    this.#referee = referee;
    this.#trace = trace;
    this.#valueBytes = chance.of([4, 40, 300]);
  }

  /** One request, or some in the same turn. */
  write(machine: Machine): void {
    const count = this.#chance.odds(0.3) ? this.#chance.between(2, 6) : 1;
    for (let index = 0; index < count; index += 1) this.#send(machine, this.#request(machine));
  }

  /** Reading what has expired deletes it. */
  async read(machine: Machine): Promise<void> {
    const { serving, reached } = machine;
    if (serving === null || reached === null) return;
    const key = this.#key();
    // Both are looked at in this very moment.
    const everything = machine.everything();
    const now = reached.process.now();
    const got = serving.get(key);
    const there = (await everything)?.get(key) ?? null;
    this.#referee.readers.read(machine, key, got, isLive(there, now) ? there : null);
  }

  /** Reads its own write on another node. */
  reach(machine: Machine): void {
    const text = this.#answered.length === 0 ? null : this.#chance.of(this.#answered);
    const position = text === null ? null : parsePosition(text);
    if (position === null) return;
    machine.serving?.reach(position, WAIT_MS, new AbortController().signal, 'reader').then(
      () => this.#referee.readers.reached(machine, position),
      (error: unknown) => this.#failed(error),
    );
  }

  /** Holds the file of a node for a while, as an export does. */
  async export(machine: Machine): Promise<void> {
    const reader = await machine.serving?.readEntries('', 'exporter');
    if (reader === undefined) return;
    this.#loop.at(this.#chance.delay(EXPORT_MS), () => reader.close());
    for await (const group of reader.groups) this.#trace.mix(String(group.length));
  }

  /** Asks what PSYNC would answer, just where the answer changes. */
  probe(machine: Machine): void {
    const node = machine.serving;
    if (node === null) return;
    const { status } = node;
    const { firstOffset } = status.window;
    const bounds = status.lineage.flatMap(({ runId, validTo }) => [
      [runId, validTo],
      [runId, validTo + 1],
    ]) as [string, number][];
    const near = [firstOffset - 2, firstOffset - 1, firstOffset, status.offset, status.offset + 1];
    const asked = [...near.map((offset): [string, number] => [status.runId, offset]), ...bounds];
    for (const [runId, offset] of asked) {
      if (offset < 0) continue;
      const position = {
        runId: runId as NonNullable<ReturnType<typeof parsePosition>>['runId'],
        offset: offset as Offset,
      };
      this.#check(machine, node, position, null);
    }
    this.#probeHash(machine, node);
  }

  #check(
    machine: Machine,
    node: NonNullable<Machine['serving']>,
    position: Position,
    hash: bigint | null,
  ): void {
    const answer = node.check({ position, hash, partial: null });
    // The look at the place may have found damage: then the window has moved.
    const told = hash === null ? null : formatHash(hash);
    this.#referee.resyncs.checked(machine, node.status, position, told, answer);
  }

  /** Asks what PSYNC would answer to whoever has the bytes up to the end of a write, and to whoever has others. */
  #probeHash(machine: Machine, node: NonNullable<Machine['serving']>): void {
    const position = parsePosition(this.#answered.length === 0 ? '' : this.#chance.of(this.#answered));
    const hash = position === null ? undefined : this.#referee.resyncs.hashOf(machine, position);
    if (position === null || hash === undefined) return;
    // A master that did not know its hash has begun a chain there, under a new run ID. It compares nothing there, nor do those who
    // follow it, as long as that run ID is in their history.
    const { ledger } = this.#referee;
    const { runId, lineage } = machine.disk.row.history;
    const names = [position.runId, runId, ...lineage.map((ancestor) => ancestor.runId)];
    if (names.some((name) => position.offset === ledger.baseOf(name))) return;
    const known = BigInt(`0x${hash}`);
    for (const each of [known, known ^ 1n]) {
      this.#check(machine, node, position, each);
      this.#trace.count('probed a hash');
    }
  }

  #send(machine: Machine, { request, values }: Written): void {
    const node = machine.serving;
    if (node === null) return;
    node.write(request, null).then(
      (result) => {
        const key = 'key' in request ? request.key : null;
        const value = request.kind === 'set' ? request.value : null;
        this.#referee.readers.answered(machine, key, value, result);
        this.#answered = [...this.#answered.slice(-9), result.position];
        this.#trace.count('write answered');
        if (this.#chance.odds(0.1)) this.#waitForReplicas(machine, result.position);
      },
      (error: unknown) => {
        this.#failed(error);
        this.#trace.count('write refused');
        for (const value of values) this.#referee.readers.refused(machine, value.toString('latin1'));
      },
    );
  }

  /** Redis's WAIT and WAITAOF: as many replicas as are said to have it have it, or had. */
  #waitForReplicas(machine: Machine, text: string): void {
    const position = parsePosition(text);
    if (position === null) return;
    const durable = this.#chance.odds(0.4);
    const demand = { offset: position.offset, replicas: this.#chance.between(durable ? 0 : 1, 3), durable };
    const place = machine.serving?.enterAcks('writer');
    place
      ?.wait(demand, WAIT_MS)
      .then(
        (count) => {
          this.#referee.resyncs.waited(machine, position, durable, count);
          this.#trace.count(`${durable ? 'on the disks of' : 'acknowledged by'} ${count.replicas}`);
        },
        (error: unknown) => this.#failed(error),
      )
      .finally(place.leave);
  }

  #request(machine: Machine): Written {
    const kind = this.#chance.below(100);
    if (kind < 60) return written(this.#operation(machine));
    if (kind < 80) {
      const operations = Array.from({ length: this.#chance.between(1, 8) }, () => this.#operation(machine));
      return written({ kind: 'batch', operations }, operations);
    }
    if (kind < 95) {
      const commands = Array.from({ length: this.#chance.between(1, 20) }, () => {
        return { kind: 'set', key: this.#key(), value: this.#value(), expiresAt: null } as const;
      });
      return { request: { kind: 'load', commands }, values: commands.map(({ value }) => value) };
    }
    if (kind < 98) return written({ kind: 'delete-many', keys: [this.#key(), this.#key(), this.#key()] });
    return written(
      this.#chance.odds(0.3) ? { kind: 'flush-all' } : { kind: 'expire-due', keys: [this.#key()] },
    );
  }

  #operation(machine: Machine): Operation {
    const condition = this.#chance.odds(0.1) ? { noneMatch: '*' as const } : ALWAYS;
    const key = this.#key();
    switch (this.#chance.below(10)) {
      case 0:
        return { kind: 'delete', key, condition: ALWAYS };
      case 1:
        return { kind: 'increment', key: `n${this.#chance.below(COUNTERS)}`, by: 1n, condition: ALWAYS };
      case 2:
        return { kind: 'expire', key, expiresAt: this.#soon(machine), condition: ALWAYS };
      case 3:
        return { kind: 'persist', key, condition: ALWAYS };
      case 4:
        return { kind: 'set', key, value: this.#value(), expiresAt: this.#soon(machine), condition };
      default:
        return { kind: 'set', key, value: this.#value(), expiresAt: null, condition };
    }
  }

  #soon(machine: Machine): number {
    return (machine.reached?.process.now() ?? 0) + this.#chance.between(1, 3_000);
  }

  #key(): string {
    return `k${this.#chance.below(KEYS)}`;
  }

  #value(): Buffer {
    this.#written += 1;
    return Buffer.from(`v${this.#written}${'.'.repeat(this.#chance.below(this.#valueBytes))}`, 'latin1');
  }

  #failed(error: unknown): void {
    if (!(error instanceof Problem)) throw error;
  }
}

interface Written {
  readonly request: WriteRequest;
  /** What it sets, if it is not refused. */
  readonly values: readonly Buffer[];
}

function written(request: WriteRequest, operations: readonly Operation[] = []): Written {
  const all = request.kind === 'set' ? [request] : operations;
  return { request, values: all.flatMap((each) => (each.kind === 'set' ? [each.value] : [])) };
}
