/** What a large batch has to look up is read before its turn, and the turn decides as if it had read it itself. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Condition } from '../../src/keyspace/condition.ts';
import type { Entry } from '../../src/keyspace/entry.ts';
import type { Operation, OperationResult } from '../../src/keyspace/write.ts';
import { MAX_TURN_LOOKUPS, type WriteResult, WriteTurn } from '../../src/node/write/write-turn.ts';
import { ZERO } from '../../src/replication/position.ts';
import { keyspaceAt, MIB, RUN_ID, Stage } from '../support/feed-stage.ts';
import { seeded } from '../support/random.ts';
import { SILENT } from '../support/silent-log.ts';

const KEYS = 3 * MAX_TURN_LOOKUPS;
/** What a lookup in the keyspace file takes, in milliseconds. */
const LOOKUP_MS = 0.1;
const ALWAYS: Condition = {};

/** A write turn over a keyspace file of which each lookup takes a while. */
class LookUps {
  readonly stage: Stage;
  readonly writes: WriteTurn;
  /** How many lookups there were without a turn of the event loop in between, at most. */
  most = 0;
  #since = 0;

  constructor(entries: ReadonlyMap<string, Entry>) {
    const file = keyspaceAt({ runId: RUN_ID, offset: ZERO }, entries);
    const look = <T>(read: (key: string) => T) => {
      return (key: string): T => {
        this.stage.world.ms += LOOKUP_MS;
        this.#since += 1;
        this.most = Math.max(this.most, this.#since);
        return read(key);
      };
    };
    file.get = look(file.get.bind(file));
    file.expiry = look(file.expiry.bind(file));
    this.stage = new Stage(MIB, file);
    const { world, head } = this.stage;
    this.writes = new WriteTurn({ world, log: SILENT, head, guard: () => null });
  }

  async turn(): Promise<void> {
    this.#since = 0;
    await this.stage.world.turn();
  }
}

function keyOf(number: number): string {
  return `k${number}`;
}

function entries(): Map<string, Entry> {
  const value = Buffer.from('1');
  return new Map(
    Array.from({ length: KEYS }, (_, index) => [
      keyOf(index),
      { value, version: 0, expiresAt: index % 7 === 0 ? 1 : null },
    ]),
  );
}

test('the lookups of a large batch are done ahead, and let the event loop turn in between', async () => {
  const lookUps = new LookUps(entries());
  const operations = Array.from({ length: KEYS }, (_, index): Operation => {
    const key = keyOf(index);
    if (index % 3 === 0) return { kind: 'increment', key, by: 1n, condition: ALWAYS };
    return { kind: 'set', key, value: Buffer.from('2'), expiresAt: null, condition: ALWAYS };
  });
  let written: WriteResult | null = null;
  void lookUps.writes.submit({ kind: 'batch', operations }).then((result) => {
    written = result;
  });
  for (let turns = 0; written === null; turns += 1) {
    assert.ok(turns < 1_000);
    await lookUps.turn();
  }
  assert.ok(lookUps.most < KEYS / 5, `${lookUps.most} lookups at once`);
});

const { seed, random } = seeded();

test(`a batch whose keys change while they are read ahead is decided on the newest state (seed ${seed})`, async () => {
  const below = (most: number): number => Math.floor(random() * most);
  for (let round = 0; round < 8; round += 1) {
    const lookUps = new LookUps(entries());
    const { stage, writes } = lookUps;
    const operations = Array.from({ length: MAX_TURN_LOOKUPS + 1 + below(500) }, (): Operation => {
      const key = keyOf(below(KEYS + 50));
      const kind = (['set', 'delete', 'get', 'increment'] as const)[below(4)];
      if (kind === 'get') return { kind, key };
      if (kind === 'delete') return { kind, key, condition: ALWAYS };
      if (kind === 'increment') return { kind, key, by: 1n, condition: ALWAYS };
      return { kind: 'set', key, value: Buffer.from('5'), expiresAt: null, condition: ALWAYS };
    });
    let expected: readonly (string | null)[] = [];
    const { commit } = stage.head;
    stage.head.commit = (run) => {
      // The batch is decided on the state that this commit finds.
      if (run.commands.length > 100) expected = model(operations, (key) => stage.head.get(key));
      commit.call(stage.head, run);
    };
    let results: readonly OperationResult[] | null = null;
    void writes.submit({ kind: 'batch', operations }).then((result) => {
      results = result.results;
    });
    for (let turns = 0; results === null; turns += 1) {
      assert.ok(turns < 10_000);
      for (let change = below(4); change > 0; change -= 1) {
        const key = keyOf(below(KEYS + 50));
        if (below(2) === 0) stage.commit({ kind: 'set', key, value: Buffer.from('9'), expiresAt: null });
        else stage.commit({ kind: 'del', keys: [key] });
      }
      if (below(200) === 0) stage.commit({ kind: 'flush-all' });
      // What was read ahead counts in the rounds without this.
      if (round % 2 === 1 && below(2) === 0) await stage.head.flush();
      await lookUps.turn();
    }
    const seen = (results as readonly OperationResult[]).map(
      ({ existed, entry }) => `${existed} ${entry?.value}`,
    );
    assert.deepEqual(seen, expected);
  }
});

/** What the operations find and leave, one after the other. */
function model(operations: readonly Operation[], get: (key: string) => Entry | null): string[] {
  const state = new Map<string, string | null>();
  return operations.map((operation) => {
    const { key } = operation;
    const found = state.has(key) ? (state.get(key) ?? null) : (get(key)?.value.toString() ?? null);
    const left =
      operation.kind === 'get'
        ? found
        : operation.kind === 'delete'
          ? null
          : operation.kind === 'increment'
            ? String(Number(found ?? 0) + 1)
            : '5';
    state.set(key, left);
    return `${found !== null} ${left ?? undefined}`;
  });
}
