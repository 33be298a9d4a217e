/** The hooks for React with typed entries, and with writes that are shown at once. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { createElement, type ReactNode } from 'react';
import { type Collection, collection } from '../../src/client/collection/collection.ts';
import type { Entry } from '../../src/client/mirror/entry.ts';
import { optimistic } from '../../src/client/optimistic/optimistic.ts';
import type { OptimisticEntry } from '../../src/client/optimistic/pending-write.ts';
import {
  InitialEntries,
  type LiveMirror,
  useEntries,
  useEntry,
  useMirrorState,
} from '../../src/client/react/index.ts';
import { page } from '../support/react-page.ts';
import { scriptedFeed } from '../support/scripted-feed.ts';
import { abc, honest, open } from '../support/scripted-mirror.ts';

function Numbers({ from }: { from: Collection<number, OptimisticEntry> }): ReactNode {
  const values: number[] = useEntries(from).map(({ value }) => value);
  const first: number | undefined = useEntry(from, 'n1')?.value;
  const isPending = useEntry(from, 'n2')?.isPending === true;
  return createElement('b', null, `${values.join()} ${first} ${isPending} ${useMirrorState(from).kind}`);
}

test('hooks read a collection of an optimistic mirror, with its types', async (t) => {
  const history = abc();
  history.set('n2', '2');
  history.set('n1', '1');
  const feed = await honest(t, history);
  const mirror = open(t, { url: feed.url });
  await mirror.ready;
  const answer = Promise.withResolvers<{ position: string; version: number }>();
  const writes = optimistic(mirror, {
    set: () => answer.promise,
    patch: () => answer.promise,
    batch: () => answer.promise,
  });
  const numbers = collection(writes, { prefix: 'n', decode: Number });
  const shown = page(t);
  shown.show(createElement(Numbers, { from: numbers }));
  await shown.shows('1,2 1 false live');
  const done = writes.set('n2', '7');
  await shown.shows('1,7 1 true live');
  history.set('n2', '7');
  feed.send(...history.events.slice(-1));
  answer.resolve({ position: history.position, version: 60 });
  await done;
  await shown.shows('1,7 1 false live');
});

/** A mirror of a node that says nothing yet, and its writes, which get no answer. */
async function silent(t: TestContext, prefix: readonly string[]) {
  const feed = await scriptedFeed(t, () => []);
  const mirror = open(t, { url: feed.url, prefix });
  const never = () => new Promise<never>(() => undefined);
  return { feed, mirror, writes: optimistic(mirror, { set: never, patch: never, batch: never }) };
}

/** Keys and values that a list shows, and one entry of it. */
function List({ from, only }: { from: LiveMirror<AnyEntry> | null; only: string }): ReactNode {
  const shown = useEntries(from).map(({ key, value }) => `${key}=${JSON.stringify(value)}`);
  return createElement('b', null, `${shown.join()} ${JSON.stringify(useEntry(from, only)?.value)}; `);
}

interface AnyEntry {
  readonly key: string;
  readonly value: unknown;
}

test('a page shows an optimistic write before its mirror has a copy, also above its initial entries', async (t) => {
  const { feed, writes } = await silent(t, ['todo:']);
  const todos = collection(writes, { decode: (value) => String(value).toUpperCase() });
  const lists = [writes, todos].map((from, key) => createElement(List, { key, from, only: 'todo:1' }));
  const bare = page(t);
  bare.show(lists);
  const full = page(t);
  full.show(createElement(InitialEntries, { entries: initial('todo:1', 'todo:0') }, lists));
  await bare.shows(' undefined;  undefined; ');
  void writes.set('todo:1', 'milk');
  await bare.shows('todo:1="milk" "milk"; todo:1="MILK" "MILK"; ');
  await full.shows('todo:0="1",todo:1="milk" "milk"; todo:0="1",todo:1="MILK" "MILK"; ');
  feed.send(...abc().snapshot('first-sync').slice(0, 1), ...abc().snapshot('first-sync').slice(-1));
  await full.shows('todo:1="milk" "milk"; todo:1="MILK" "MILK"; ');
});

test('of the initial entries a mirror shows those with its prefixes, and a collection its own, with its type', async (t) => {
  const { mirror, writes } = await silent(t, ['order:', 'user:']);
  const faults: string[] = [];
  const orders = collection(writes, {
    prefix: 'order:',
    decode: (value) => ({ total: Number(JSON.parse(String(value))) }),
    onFault: ({ key }) => faults.push(key),
  });
  const entries = initial('user:1', 'order:1', 'order:2', 'other:1');
  const broken = { key: 'order:3', value: 'no JSON', version: 1, expiresAt: null };
  const lists = (only: string): ReactNode =>
    [orders, mirror].map((from: LiveMirror<AnyEntry>, key) => createElement(List, { key, from, only }));
  const wanted = 'order:1={"total":1},order:2={"total":1} ';
  const raw = 'order:1="1",order:2="1",order:3="no JSON",user:1="1" ';
  const given = [...entries, broken];
  const shown = page(t);
  shown.show(createElement(InitialEntries, { entries: given }, lists('order:1')));
  await shown.shows(`${wanted}{"total":1}; ${raw}"1"; `);
  shown.show(createElement(InitialEntries, { entries: given }, lists('user:1')));
  await shown.shows(`${wanted}undefined; ${raw}"1"; `);
  shown.show(createElement(InitialEntries, { entries: given }, lists('other:1')));
  await shown.shows(`${wanted}undefined; ${raw}undefined; `);
  assert.deepEqual(faults, ['order:3']);
});

function initial(...keys: readonly string[]): Entry[] {
  return keys.map((key) => ({ key, value: '1', version: 1, expiresAt: null }));
}

test('a list takes the order of a mirror that has one, and does not sort its entries again', async (t) => {
  const entries = initial('c', 'x', 'a', 'b');
  const from: LiveMirror<AnyEntry> = {
    isSorted: true,
    getEntry: (key) => entries.find((entry) => entry.key === key),
    snapshot: () => entries,
    state: { kind: 'loading' },
    subscribe: () => () => undefined,
    on: () => () => undefined,
  };
  const shown = page(t);
  shown.show(createElement(List, { from, only: 'x' }));
  await shown.shows('c="1",x="1",a="1",b="1" "1"; ');
});
