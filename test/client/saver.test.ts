/** Whatever fails while a mirror stores, what is stored is a state that the copy has had, with its position. */
import assert from 'node:assert/strict';
import test, { mock, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import type { Entry } from '../../src/client/mirror/entry.ts';
import {
  MAX_MORE_KEYS,
  MAX_SAVE_AGAIN_MS,
  SAVE_AGAIN_MS,
  SAVE_EVERY_MS,
  Saver,
} from '../../src/client/mirror/saver.ts';
import {
  type MirrorStorage,
  memoryStorage,
  StorageConflict,
  type StorageUpdate,
} from '../../src/client/mirror/storage.ts';

type Failure = 'none' | 'before it is stored' | 'after it is stored';
type Action =
  | { readonly kind: 'change'; readonly key: string; readonly value: string | null }
  /** The next update fails. */
  | { readonly kind: 'fail'; readonly how: Failure }
  | { readonly kind: 'wait'; readonly ms: number }
  /** Another tab stores what it had: a state from before. */
  | { readonly kind: 'other'; readonly back: number };

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('change' as const),
      key: fc.constantFrom('a', 'b', 'c'),
      value: fc.option(fc.string({ maxLength: 3 })),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.constantFrom(SAVE_EVERY_MS, SAVE_AGAIN_MS),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      how: fc.constantFrom<Failure>('before it is stored', 'after it is stored'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('other' as const), back: fc.nat({ max: 5 }) }) },
);

/** A copy that remembers what it has been. */
class Past {
  entries: ReadonlyMap<string, Entry> = new Map();
  readonly states = [this.entries];

  get position(): string {
    return `p${this.states.length - 1}`;
  }

  change(key: string, value: string | null): void {
    const entries = new Map(this.entries);
    if (value === null) entries.delete(key);
    else entries.set(key, { key, value, version: this.states.length, expiresAt: null });
    this.entries = entries;
    this.states.push(entries);
  }

  at(position: string): readonly Entry[] {
    return sorted((this.states[Number(position.slice(1))] as ReadonlyMap<string, Entry>).values());
  }
}

function sorted(entries: Iterable<Entry>): readonly Entry[] {
  return [...entries].sort((left, right) => (left.key < right.key ? -1 : 1));
}

async function check(storage: MirrorStorage, past: Past): Promise<string | null> {
  const stored = await storage.load();
  if (stored !== null) assert.deepEqual(sorted(stored.entries), past.at(stored.position));
  return stored?.position ?? null;
}

const CALL_MS = 10_000;

function saverOf(
  storage: MirrorStorage,
  past: Past,
  errors: unknown[] = [],
  base: string | null = null,
): Saver {
  const failed = (error: unknown): unknown => errors.push(error);
  return new Saver({ storage, scope: 's', base, callMs: CALL_MS, source: past, failed });
}

function fakeTimers(t: TestContext): void {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.after(() => mock.timers.reset());
}

/** Lets this time pass, and everything happen that can. */
async function pass(ms: number): Promise<void> {
  mock.timers.tick(ms);
  await turn();
}

/** A memory storage of which each save does what `save` says, and the kinds of the updates. */
function watched(
  save: (update: StorageUpdate, index: number) => Promise<void> | undefined,
): MirrorStorage & { readonly inner: MirrorStorage; readonly kinds: string[] } {
  const inner = memoryStorage();
  const kinds: string[] = [];
  return {
    ...inner,
    inner,
    kinds,
    save: async (update) => {
      kinds.push(update.kind);
      return save(update, kinds.length - 1) ?? inner.save(update);
    },
  };
}

/** Writes to a new key, deletes it again, and so on: no entry is left. */
function churn(past: Past, saver: Saver, times: number): void {
  for (let index = 0; index < times; index += 1) {
    past.change('k', `${index}`);
    saver.changed([{ key: `key ${index}` }]);
  }
}

test('after a failure it tries again later and later, and at its usual pace after a success', async (t) => {
  fakeTimers(t);
  const past = new Past();
  const storage = watched((_update, index) => (index < 9 ? Promise.reject(new Error('quota')) : undefined));
  const errors: unknown[] = [];
  const saver = saverOf(storage, past, errors);
  past.change('a', '1');
  saver.changed([{ key: 'a' }]);
  await pass(SAVE_EVERY_MS);
  for (let failures = 1; failures < 10; failures += 1) {
    const ms = Math.min(SAVE_AGAIN_MS * 2 ** (failures - 1), MAX_SAVE_AGAIN_MS);
    past.change('a', `${failures}`);
    saver.changed([{ key: 'a' }]);
    await pass(ms - 1);
    assert.equal(storage.kinds.length, failures);
    await pass(1);
    assert.equal(storage.kinds.length, failures + 1);
  }
  assert.equal(await check(storage.inner, past), past.position);
  past.change('b', '1');
  saver.changed([{ key: 'b' }]);
  await pass(SAVE_EVERY_MS);
  assert.deepEqual([storage.kinds.at(-1), errors.length], ['patch', 9]);
  assert.equal(await check(storage.inner, past), past.position);
});

const BLIND: Readonly<Record<string, () => MirrorStorage>> = {
  'after a conflict': () =>
    watched((_update, index) => (index === 1 ? Promise.reject(new StorageConflict()) : undefined)),
  'after a failure': () =>
    watched((_update, index) => (index === 1 ? Promise.reject(new Error('x')) : undefined)),
  'while the storage does not answer': () =>
    watched((_update, index) => (index === 1 ? new Promise(() => undefined) : undefined)),
  'while another tab stores': () => ({ ...memoryStorage(), lock: () => new Promise(() => undefined) }),
};
for (const [when, create] of Object.entries(BLIND)) {
  test(`the list of changed keys is bounded: ${when}`, async (t) => {
    fakeTimers(t);
    const past = new Past();
    const saver = saverOf(create(), past, [], 'p0');
    for (const key of ['a', 'b']) {
      past.change(key, '1');
      saver.changed([{ key }]);
      await pass(SAVE_EVERY_MS);
    }
    const { mock } = t.mock.method(Set.prototype, 'add');
    churn(past, saver, 5 * MAX_MORE_KEYS);
    mock.restore();
    // The last key is the one for which the list is given up.
    const most = Math.max(0, ...mock.calls.map(({ this: list }) => (list as Set<unknown>).size));
    assert.ok(most <= MAX_MORE_KEYS + past.entries.size + 1, `${most}`);
  });
}

test('data that somebody has deleted is stored anew, at once', async (t) => {
  fakeTimers(t);
  const past = new Past();
  let inner = memoryStorage();
  const errors: unknown[] = [];
  const storage: MirrorStorage = { ...inner, save: (update) => inner.save(update) };
  const saver = saverOf(storage, past, errors);
  for (const value of ['1', '2']) {
    past.change('a', value);
    saver.changed([{ key: 'a' }]);
    await pass(SAVE_EVERY_MS);
    assert.equal(await check(inner, past), past.position);
    inner = memoryStorage();
  }
  past.change('b', '1');
  saver.changed([{ key: 'b' }]);
  await saver.close();
  assert.equal(await check(inner, past), past.position);
  assert.deepEqual(errors, []);
});

test('a mirror that waits for its right to store takes over when it has it, whatever the other one has stored', async (t) => {
  fakeTimers(t);
  const past = new Past();
  past.change('a', '1');
  const granted = Promise.withResolvers<void>();
  const inner = memoryStorage();
  await inner.save({ kind: 'replace', scope: 's', position: past.position, entries: past.at(past.position) });
  const errors: unknown[] = [];
  const saver = saverOf({ ...inner, lock: () => granted.promise }, past, errors, past.position);
  past.change('b', '1');
  saver.changed([{ key: 'b' }]);
  await pass(SAVE_AGAIN_MS);
  assert.equal(await check(inner, past), 'p1');
  past.change('c', '1');
  await inner.save({ kind: 'patch', scope: 's', base: 'p1', position: 'p2', put: past.at('p2'), remove: [] });
  granted.resolve();
  await turn();
  await pass(SAVE_EVERY_MS);
  assert.equal(await check(inner, past), past.position);
  assert.deepEqual(errors, []);
  await saver.close();
});

test('close ends, whatever the storage does not answer or throws', async () => {
  const never = (): Promise<never> => new Promise(() => undefined);
  const fails = (): never => {
    throw new Error('thrown');
  };
  const cases: readonly (readonly [Partial<MirrorStorage>, readonly RegExp[]])[] = [
    [{ save: never }, [/did not answer/]],
    [{ close: never }, [/did not answer/]],
    [{ save: never, close: never }, [/did not answer/, /did not answer/]],
    [{ save: fails }, [/thrown/]],
    [{ close: fails }, [/thrown/]],
    [{ lock: fails }, []],
    [{ lock: never }, []],
  ];
  for (const [faults, expected] of cases) {
    const past = new Past();
    past.change('a', '1');
    const errors: unknown[] = [];
    const options = { scope: 's', base: null, callMs: 5, source: past };
    const storage = { ...memoryStorage(), ...faults };
    const saver = new Saver({ ...options, storage, failed: (error) => errors.push(error) });
    saver.changed([{ key: 'a' }]);
    await saver.close();
    assert.equal(errors.length, expected.length);
    for (const [index, pattern] of expected.entries()) assert.match(String(errors[index]), pattern);
  }
});

test('a storage that answers late is called again only then, and gets everything', async (t) => {
  fakeTimers(t);
  const past = new Past();
  const answers: (() => void)[] = [];
  const storage = watched((_update, index) =>
    index === 0 ? new Promise<void>((resolve) => answers.push(resolve)) : undefined,
  );
  const errors: unknown[] = [];
  const saver = saverOf(storage, past, errors);
  past.change('a', '1');
  saver.changed([{ key: 'a' }]);
  await pass(SAVE_EVERY_MS);
  await pass(CALL_MS);
  assert.equal(errors.length, 1);
  past.change('b', '1');
  saver.changed([{ key: 'b' }]);
  await pass(MAX_SAVE_AGAIN_MS);
  assert.deepEqual(storage.kinds, ['replace']);
  answers[0]?.();
  await turn();
  await pass(SAVE_AGAIN_MS);
  assert.deepEqual(storage.kinds, ['replace', 'replace']);
  assert.equal(await check(storage.inner, past), past.position);
});

test('the stored copy is always a state that the mirror had, and without failures the last one', async (t) => {
  fakeTimers(t);
  const property = fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
    const inner = memoryStorage();
    const past = new Past();
    let next: Failure = 'none';
    const storage: MirrorStorage = {
      ...inner,
      save: async (update) => {
        const how = next;
        next = 'none';
        if (how === 'before it is stored') throw new Error(how);
        await inner.save(update);
        if (how === 'after it is stored') throw new Error(how);
      },
    };
    const saver = saverOf(storage, past);
    for (const each of actions) {
      switch (each.kind) {
        case 'change':
          past.change(each.key, each.value);
          saver.changed([{ key: each.key }]);
          break;
        case 'fail':
          next = each.how;
          break;
        case 'wait':
          mock.timers.tick(each.ms);
          await turn();
          break;
        case 'other': {
          const position = `p${Math.max(0, past.states.length - 1 - each.back)}`;
          await inner.save({ kind: 'replace', scope: 's', position, entries: past.at(position) });
        }
      }
      await check(inner, past);
    }
    next = 'none';
    await saver.close();
    const position = await check(inner, past);
    if (actions.every(({ kind }) => kind !== 'other')) {
      assert.equal(position, past.states.length === 1 && position === null ? null : past.position);
    }
  });
  // The seed is in the message of a failure.
  await fc.assert(property, { numRuns: 300 });
});
