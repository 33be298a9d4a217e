/** Pages of React that a server renders, and that a browser takes over. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { createElement, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import type { Entry } from '../../src/client/mirror/entry.ts';
import { memoryStorage } from '../../src/client/mirror/storage.ts';
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

interface Props {
  readonly from: LiveMirror | null;
}

function State({ from }: Props): ReactNode {
  return `${useMirrorState(from).kind}: `;
}

function Value({ from }: Props): ReactNode {
  return String(useEntry(from, 'b')?.value);
}

function Keys({ from }: Props): ReactNode {
  return useEntries(from).map(({ key }) => ` ${key}`);
}

/** Shows the state of the mirror, the value of `b`, and all keys, each in a component that renders for itself. */
function App(props: Props): ReactNode {
  return [State, Value, Keys].map((Part) =>
    createElement('b', { key: Part.name }, createElement(Part, props)),
  );
}

function app(from: LiveMirror | null, entries?: readonly Entry[]): ReactNode {
  const content = createElement(App, { from });
  return entries === undefined ? content : createElement(InitialEntries, { entries }, content);
}

/** The text that a server renders. */
function rendered(tree: ReactNode): string {
  return renderToString(tree).replaceAll(/<.*?>/g, '');
}

const ENTRIES: readonly Entry[] = ['c', 'b', 'x'].map((key) => {
  return { key, value: `${key} of the server`, version: 1, expiresAt: null };
});

test('a server renders the initial entries, whatever its mirror has', async (t) => {
  const copy = open(t, { url: (await honest(t, abc())).url });
  await copy.ready;
  for (const from of [copy, null]) {
    assert.equal(rendered(app(from)), 'loading: undefined');
    assert.equal(rendered(app(from, ENTRIES)), 'loading: b of the server b c x');
  }
  assert.equal(rendered(app(copy, copy.snapshot())), 'loading: value of b a b c');
});

test('a browser takes over what the server rendered without a mismatch, also with a mirror that is live', async (t) => {
  const copy = open(t, { url: (await honest(t, abc())).url });
  await copy.ready;
  const { hydrate, shows } = page(t);
  hydrate(renderToString(app(null, ENTRIES)), app(copy, ENTRIES));
  await shows('live: value of b a b c');
  const bare = page(t);
  bare.hydrate(renderToString(app(null)), app(copy));
  await bare.shows('live: value of b a b c');
});

test('a page shows what its server rendered until its mirror has a copy, and then only that', async (t) => {
  const history = abc();
  history.write({ type: 'delete', key: 'b' });
  const feed = await scriptedFeed(t, () => []);
  const copy = open(t, { url: feed.url });
  const { hydrate, shows } = page(t);
  hydrate(renderToString(app(null, ENTRIES)), app(copy, ENTRIES));
  await shows('connecting: b of the server b c x');
  const [reset = {}, ...rest] = history.snapshot('first-sync');
  feed.send(reset);
  await shows('syncing: b of the server b c x');
  feed.send(...rest);
  await shows('live: undefined a c');
  feed.send(history.set('b', 'back'));
  await shows('live: back a b c');
});

test('a page whose mirror loads a stored copy shows that instead of what its server rendered', async (t) => {
  const storage = memoryStorage();
  const first = open(t, { url: (await honest(t, abc())).url, storage });
  await first.ready;
  await first.close();
  const copy = open(t, { url: (await scriptedFeed(t, () => [])).url, storage });
  const { hydrate, shows } = page(t);
  hydrate(renderToString(app(null, ENTRIES)), app(copy, ENTRIES));
  await shows('connecting: value of b a b c');
});

test('a page whose initial entries go has those of its mirror, or none', async (t) => {
  const copy = open(t, { url: (await scriptedFeed(t, () => [])).url });
  const { show, shows } = page(t);
  show(app(copy, ENTRIES));
  await shows('connecting: b of the server b c x');
  show(app(copy, ENTRIES.slice(0, 1)));
  await shows('connecting: undefined c');
  show(app(copy));
  await shows('connecting: undefined');
});
