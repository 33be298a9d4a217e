/** The hooks for React with typed entries, and with writes that are shown at once. */
import test from 'node:test';
import { createElement, type ReactNode } from 'react';
import { type Collection, collection } from '../../src/client/collection/collection.ts';
import { optimistic } from '../../src/client/optimistic/optimistic.ts';
import type { OptimisticEntry } from '../../src/client/optimistic/pending-write.ts';
import { useEntries, useEntry, useMirrorState } from '../../src/client/react/index.ts';
import { page } from '../support/react-page.ts';
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
