/** Mirrors of scripted nodes, and what they hold. */
import type { TestContext } from 'node:test';
import type { Entry } from '../../src/client/mirror/entry.ts';
import { type Mirror, mirror } from '../../src/client/mirror/mirror.ts';
import type { MirrorOptions } from '../../src/client/mirror/mirror-options.ts';
import { FeedModel } from './feed-model.ts';
import { type ScriptedFeed, scriptedFeed } from './scripted-feed.ts';

/** Opens a mirror that retries at once, and closes it after the test. */
export function open(t: TestContext, options: MirrorOptions): Mirror {
  const opened = mirror({ retryBaseMs: 1, retryMaxMs: 5, ...options });
  t.after(() => opened.close());
  return opened;
}

/** A node that answers each connection as its history says, with the prefixes that it asks for. */
export function honest(t: TestContext, history: FeedModel): Promise<ScriptedFeed> {
  return scriptedFeed(t, (_index, query) => {
    const prefixes = query.getAll('prefix');
    const isAsked = (event: object): boolean =>
      prefixes.length === 0 ||
      !('key' in event) ||
      prefixes.some((prefix) => String(event.key).startsWith(prefix));
    return history.from(query.get('position') ?? undefined).filter(isAsked);
  });
}

/** The values that a mirror shows, by key. */
export function contents(of: Mirror): Record<string, Entry['value']> {
  return Object.fromEntries([...of.entries()].map(({ key, value }) => [key, value]));
}

/** The values of a history, by key. */
export function expected(history: FeedModel): Record<string, string> {
  return Object.fromEntries([...history.entries].map(([key, { value }]) => [key, value]));
}

/** A history with three entries. */
export function abc(): FeedModel {
  const history = new FeedModel();
  for (const key of ['a', 'b', 'c']) history.set(key, `value of ${key}`);
  return history;
}
