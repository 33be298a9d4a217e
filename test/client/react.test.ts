/** The hooks for React, with React itself and mirrors of scripted nodes. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import {
  createElement,
  Fragment,
  memo,
  type ReactNode,
  startTransition,
  useEffect,
  useLayoutEffect,
  useState,
} from 'react';
import { until } from '../../src/cli/until.ts';
import type { Mirror } from '../../src/client/mirror/mirror.ts';
import { type LiveMirror, useEntries, useEntry, useMirrorState } from '../../src/client/react/index.ts';
import type { WithKey } from '../../src/client/react/live-mirror.ts';
import { FeedModel } from '../support/feed-model.ts';
import { page } from '../support/react-page.ts';
import type { ScriptedFeed } from '../support/scripted-feed.ts';
import { abc, honest, open } from '../support/scripted-mirror.ts';

interface Live {
  readonly history: FeedModel;
  readonly feed: ScriptedFeed;
  readonly copy: Mirror;
  /** Writes it at the node, and waits until the mirror has it. */
  set(key: string, value: string): Promise<void>;
  remove(key: string): Promise<void>;
}

async function live(t: TestContext, history = abc()): Promise<Live> {
  const feed = await honest(t, history);
  const copy = open(t, { url: feed.url });
  await copy.ready;
  const send = (event: object): Promise<void> => {
    feed.send(event);
    return copy.waitFor(history.position);
  };
  return {
    history,
    feed,
    copy,
    set: (key, value) => send(history.set(key, value)),
    remove: (key) => send(history.write({ type: 'delete', key })),
  };
}

/** Shows the value of one entry, and notes each time it renders. */
function Value({
  from,
  name,
  renders,
}: {
  from: LiveMirror | null;
  name: string;
  renders?: string[];
}): ReactNode {
  const entry = useEntry(from, name);
  renders?.push(name);
  return createElement('b', null, entry === undefined ? 'none' : String(entry.value));
}

/** Shows the keys and values with a prefix. */
function List({ from, prefix }: { from: LiveMirror | null; prefix?: string }): ReactNode {
  const entries = useEntries(from, { prefix });
  return createElement('p', null, entries.map(({ key, value }) => `${key}=${value}`).join(' '));
}

test('a component shows its entry, and each change of it, its deletion and its return', async (t) => {
  const { copy, set, remove } = await live(t);
  const { show, shows } = page(t);
  show(createElement(Value, { from: copy, name: 'a' }));
  await shows('value of a');
  await set('a', '1');
  await shows('1');
  await remove('a');
  await shows('none');
  await set('a', '2');
  await shows('2');
});

test('a component that reads one entry does not render when others change', async (t) => {
  const { copy, set } = await live(t);
  const renders: string[] = [];
  const { show, shows } = page(t);
  show(
    createElement(
      Fragment,
      null,
      createElement(Value, { from: copy, name: 'a', renders }),
      createElement(Value, { from: copy, name: 'b', renders }),
    ),
  );
  renders.length = 0;
  await set('b', '1');
  await shows('value of a1');
  assert.deepEqual([...new Set(renders)], ['b']);
});

test('of 10,000 components, one for each entry, only that one renders whose entry changes', async (t) => {
  const history = new FeedModel();
  const names = Array.from({ length: 10_000 }, (_, index) => `key:${index}`);
  history.write(
    ...names.map(
      (key) => ({ type: 'set', key, value: '0', encoding: 'utf8', version: 10, expiresAt: null }) as const,
    ),
  );
  const { copy, set } = await live(t, history);
  const renders: string[] = [];
  const { show, container } = page(t);
  show(names.map((name) => createElement(Value, { key: name, from: copy, name, renders })));
  assert.equal(container.textContent, '0'.repeat(10_000));
  renders.length = 0;
  await set('key:5000', '1');
  await until('the change is shown', () => container.textContent.indexOf('1') === 5_000);
  assert.deepEqual([...new Set(renders)], ['key:5000']);
});

test('a list of many entries is not sorted anew when one changes, appears or goes', async (t) => {
  let reads = 0;
  const entryOf = (key: string): WithKey => ({
    get key() {
      reads += 1;
      return key;
    },
  });
  // In no order, as a mirror may have them.
  const keys = Array.from({ length: 4_096 }, (_, index) => `k${(index * 1_001) % 4_096}`);
  let entries = keys.map(entryOf);
  const listeners = new Set<() => void>();
  const from: LiveMirror<WithKey> = {
    state: { kind: 'live', url: 'http://node' },
    getEntry: () => undefined,
    snapshot: () => entries,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    on: () => () => undefined,
  };
  let shown: readonly WithKey[] = [];
  const Keys = (): ReactNode => {
    shown = useEntries(from);
    return null;
  };
  const { show } = page(t);
  show(createElement(Keys));
  const changes: readonly (() => WithKey[])[] = [
    () => entries.with(7, entryOf(keys[7] as string)),
    () => [...entries, entryOf('k2000a')],
    () => entries.toSpliced(9, 1),
  ];
  for (const change of changes) {
    entries = change();
    reads = 0;
    const before = shown;
    for (const listener of listeners) listener();
    await until('the change is shown', () => shown !== before);
    assert.ok(reads < 10 * entries.length, `${reads} reads of keys`);
    assert.deepEqual(
      shown.map(({ key }) => key),
      entries.map(({ key }) => key).sort(),
    );
  }
});

test('a list of 1,000 entries renders again when one changes, but only the row of that one', async (t) => {
  const history = new FeedModel();
  history.write(
    ...Array.from(
      { length: 1_000 },
      (_, index) =>
        ({
          type: 'set',
          key: `k:${index}`,
          value: '0',
          encoding: 'utf8',
          version: 10,
          expiresAt: null,
        }) as const,
    ),
  );
  const { copy, set } = await live(t, history);
  const renders: string[] = [];
  const Row = memo(function Row({
    entry,
  }: {
    entry: { readonly key: string; readonly value: unknown };
  }): ReactNode {
    renders.push(entry.key);
    return createElement('i', null, String(entry.value));
  });
  function Rows(): ReactNode {
    return useEntries(copy, { prefix: 'k:' }).map((entry) => createElement(Row, { key: entry.key, entry }));
  }
  const { show, container } = page(t);
  show(createElement(Rows));
  renders.length = 0;
  await set('k:77', '1');
  await until('the change is shown', () => container.textContent.includes('1'));
  assert.deepEqual([...new Set(renders)], ['k:77']);
});

test('a list has the entries of its prefix in the order of their keys, and is the same while they do not change', async (t) => {
  const { copy, set, remove } = await live(t);
  const lists = new Set<unknown>();
  function Keys(): ReactNode {
    const entries = useEntries(copy, { prefix: 'user:' });
    lists.add(entries);
    // The list must not depend on when the component renders.
    useEntries(copy);
    return entries.map(({ key }) => key).join(' ');
  }
  const { show, shows } = page(t);
  show(createElement(Keys));
  await set('user:2', 'x');
  await set('user:1', 'x');
  await shows('user:1 user:2');
  lists.clear();
  await set('other', 'x');
  await until('the component has rendered', () => lists.size > 0);
  await set('user:2', 'y');
  await remove('user:1');
  await shows('user:2');
  // The one from before, one with the change, and one without the key.
  assert.equal(lists.size, 3);
  // A component that sorts the list in place would sort what the others show.
  assert.ok([...lists].every(Object.isFrozen));
  // The order of a node is that of UTF-8, in which U+1F600 comes last.
  await set('user:\u{1f600}', 'x');
  await set('user:\uffee', 'x');
  await shows('user:2 user:\uffee user:\u{1f600}');
});

test('a component shows the state of the connection, and renders when it changes', async (t) => {
  const { copy, feed } = await live(t);
  const seen: string[] = [];
  function State(): ReactNode {
    const { kind } = useMirrorState(copy);
    seen.push(kind);
    return kind;
  }
  const { show, shows } = page(t);
  show(createElement(State));
  await shows('live');
  feed.send('CUT');
  await until('the page has seen the cut', () => seen.some((kind) => kind !== 'live'));
  await shows('live');
  await copy.close();
  await shows('closed');
});

test('another key, prefix or mirror is shown at once, and the former one is no longer listened to', async (t) => {
  const [first, second] = [await live(t), await live(t)];
  await second.set('a', 'of the second');
  const renders: string[] = [];
  const { show, container } = page(t);
  const at = (from: LiveMirror | null, name: string, prefix: string): ReactNode =>
    createElement(
      Fragment,
      null,
      createElement(Value, { from, name, renders }),
      createElement(List, { from, prefix }),
    );
  show(at(first.copy, 'a', 'b'));
  assert.equal(container.textContent, 'value of ab=value of b');
  show(at(first.copy, 'c', 'c'));
  assert.equal(container.textContent, 'value of cc=value of c');
  show(at(second.copy, 'a', 'a'));
  assert.equal(container.textContent, 'of the seconda=of the second');
  renders.length = 0;
  await first.set('a', 'x');
  assert.deepEqual(renders, []);
  show(at(null, 'a', 'a'));
  assert.equal(container.textContent, 'none');
});

test('a page may have its mirror for a part of its life: an effect opens it and closes it', async (t) => {
  const { url } = await honest(t, abc());
  const mirrors: Mirror[] = [];
  function Part(): ReactNode {
    const [copy, setCopy] = useState<Mirror | null>(null);
    useEffect(() => {
      const opened = open(t, { url });
      mirrors.push(opened);
      setCopy(opened);
      return () => {
        opened.close().catch(assert.fail);
      };
    }, []);
    return [useMirrorState(copy).kind, createElement(Value, { key: 'value', from: copy, name: 'a' })];
  }
  const { show, shows, unmount } = page(t);
  show(createElement(Part));
  await shows('livevalue of a');
  unmount();
  for (const each of mirrors) await until('it is closed', () => each.state.kind === 'closed');
  assert.equal(mirrors.length, 2);
});

test('a component that goes while its entry changes is not told of it, and leaves no listener behind', async (t) => {
  const { copy, set, remove } = await live(t);
  let listeners = 0;
  const counted = (add: () => () => void): (() => void) => {
    const end = add();
    listeners += 1;
    let isOn = true;
    return () => {
      if (isOn) listeners -= 1;
      isOn = false;
      end();
    };
  };
  const watched: LiveMirror = {
    getEntry: (key) => copy.getEntry(key),
    snapshot: copy.snapshot,
    get position() {
      return copy.position;
    },
    get state() {
      return copy.state;
    },
    subscribe: (listener, filter) => counted(() => copy.subscribe(listener, filter)),
    on: (name, listener) => counted(() => copy.on(name, listener)),
  };
  function Parent(): ReactNode {
    const state = useMirrorState(watched).kind;
    const isThere = useEntry(watched, 'a') !== undefined;
    return [state, isThere && createElement(Value, { key: 'value', from: watched, name: 'a' })];
  }
  const { show, shows, unmount, container } = page(t);
  show(createElement(Parent));
  await shows('livevalue of a');
  assert.equal(listeners, 3);
  await remove('a');
  await shows('live');
  assert.equal(listeners, 2);
  await set('a', '1');
  await shows('live1');
  const told = copy.waitFor(copy.position ?? '');
  const end = copy.subscribe(() => unmount(), { key: 'a' });
  await set('a', '2');
  end();
  await told;
  assert.deepEqual([listeners, container.textContent], [0, '']);
});

test('a tree that React renders in slices never shows two states of the mirror at once', async (t) => {
  const { copy, history, feed } = await live(t);
  const COUNT = 300;
  const rendered: string[] = [];
  const committed: number[] = [];
  const { container, root, texts } = page(t);
  function Slow({ index }: { index: number }): ReactNode {
    const value = String(useEntry(copy, 'a')?.value);
    rendered.push(value);
    if (index === 0 && value === 'value of a') feed.send(history.set('a', 'new'));
    // Takes longer than a slice of React's, so that the change comes between two components.
    const end = performance.now() + 6;
    while (value === 'value of a' && performance.now() < end);
    useLayoutEffect(() => {
      if (index === COUNT - 1) committed.push(new Set(texts('b')).size);
    });
    return createElement('b', null, value);
  }
  const slow = Array.from({ length: COUNT }, (_, index) => createElement(Slow, { key: index, index }));
  startTransition(() => root().render(slow));
  await until('the tree is shown', () => committed.length > 0);
  assert.equal(rendered[0], 'value of a');
  assert.ok(rendered.slice(0, COUNT).includes('new'), 'the change came after the whole tree was rendered');
  await until('the change is shown', () => new Set(texts('b')).has('new'));
  assert.ok(committed.every((different) => different === 1));
  assert.equal(container.textContent, 'new'.repeat(COUNT));
});
