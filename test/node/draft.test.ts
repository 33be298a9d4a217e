import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Entry, isLive, type Outline, outlineOf } from '../../src/keyspace/entry.ts';
import { Refusal } from '../../src/keyspace/refusal.ts';
import { TurnDraft } from '../../src/node/write/draft.ts';
import { offset } from '../../src/replication/position.ts';
import type { Command } from '../../src/stream/command.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { after, anyCommand, type Keyspace } from '../support/arbitraries.ts';

const KEYS = ['a', 'b', 'c'];
const START = offset(1_000);
const NOW = 1_500;

type Step =
  | { readonly kind: 'add'; readonly command: Command }
  | { readonly kind: 'look'; readonly key: string }
  | { readonly kind: 'transaction'; readonly steps: readonly Step[]; readonly fails: boolean };

const anyKey = fc.constantFrom(...KEYS);
const anyTime = fc.integer({ min: NOW - 2, max: NOW + 2 });
const anySimpleStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: anyCommand(anyKey, anyTime).map((command) => ({ kind: 'add', command }) as const) },
  { weight: 1, arbitrary: anyKey.map((key) => ({ kind: 'look', key }) as const) },
);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: anySimpleStep },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('transaction' as const),
      steps: fc.array(anySimpleStep, { maxLength: 8 }),
      fails: fc.boolean(),
    }),
  },
);

/** A draft over a keyspace that is a Map, and beside it the state as it should be. */
class Bench {
  readonly draft: TurnDraft;
  #state: Keyspace;

  constructor(below: Keyspace) {
    this.#state = below;
    const raw = (key: string): Entry | null => below.get(key) ?? null;
    const outline = (key: string): Outline | null => {
      const entry = raw(key);
      return entry === null ? null : outlineOf(entry);
    };
    const expiry = (key: string): number | null | undefined => raw(key)?.expiresAt;
    // Some are in the overlay, and others only in the file.
    const knowsAbove = (key: string): boolean => key !== 'a';
    this.draft = new TurnDraft({ offset: START, raw, outline, expiry, knowsAbove }, NOW);
  }

  take(step: Step): void {
    switch (step.kind) {
      case 'add':
        this.#state = after(this.#state, step.command, this.draft.add(step.command));
        return;
      case 'look':
        this.#look(step.key);
        return;
      case 'transaction':
        this.#transaction(step.steps, step.fails);
    }
  }

  /** The state is the one that it should be, and so is what would go into the stream. */
  check(below: Keyspace): void {
    for (const key of KEYS) this.#look(key);
    const { bytes } = this.draft.finish();
    const run = new StreamDecoder().push(bytes);
    let replayed = below;
    for (const [index, command] of (run?.commands ?? []).entries()) {
      replayed = after(replayed, command, START + (run?.ends[index] as number));
    }
    assert.deepEqual(replayed, this.#state);
  }

  #look(key: string): void {
    const entry = this.#state.get(key) ?? null;
    const live = isLive(entry, NOW);
    assert.equal(this.draft.has(key), live, key);
    assert.deepEqual(this.draft.get(key), live ? entry : null, key);
    assert.equal(this.draft.outline(key)?.version, live ? entry.version : undefined, key);
    assert.equal(this.draft.isDue(key), entry !== null && !live, key);
  }

  #transaction(steps: readonly Step[], fails: boolean): void {
    const before = this.#state;
    const run = (): void =>
      this.draft.transaction(() => {
        for (const step of steps) this.take(step);
        if (fails) throw new Refusal('NOT_FOUND', 'it fails');
      });
    if (!fails) {
      run();
      return;
    }
    assert.throws(run, Refusal);
    this.#state = before;
  }
}

const NOTHING: Keyspace = new Map();
const SOMETHING: Keyspace = new Map([
  ['a', { value: Buffer.from('below'), version: 10, expiresAt: null }],
  ['b', { value: Buffer.from('due'), version: 20, expiresAt: NOW - 1 }],
]);

for (const below of [NOTHING, SOMETHING]) {
  test(`a draft over ${below.size} entries: each request sees what those before it have left, and nothing of one that failed`, () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 30 }), (steps) => {
        const bench = new Bench(below);
        for (const step of steps) bench.take(step);
        bench.check(below);
      }),
    );
  });
}
