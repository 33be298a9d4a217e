/** Listeners for events, by name. */
import { call } from '../report.ts';

/** Listeners in objects of their own: who registers a function twice has two. */
type Group = Set<{ readonly listener: (event: never) => unknown }>;
export type Groups<Name> = Map<Name, Group>;

/** @returns a function that removes the listener */
export function listen<Name>(
  groups: Groups<Name>,
  name: Name,
  listener: (event: never) => unknown,
): () => void {
  const group = groups.get(name) ?? new Set();
  groups.set(name, group);
  const own = { listener };
  group.add(own);
  return () => {
    group.delete(own);
    if (group.size === 0 && groups.get(name) === group) groups.delete(name);
  };
}

/**
 * Calls listeners with an event that none of them can change for the others. A fault in one is reported, and stops neither the others nor the caller. A listener may remove others,
 * which are not called then, and add new ones, which wait for the next event.
 */
export function callEach<Event>(group: Group | undefined, event: Event): void {
  Object.freeze(event);
  for (const each of new Set(group)) {
    if (group?.has(each)) call(each.listener as (event: Event) => unknown, event);
  }
}

export class Listeners<Events extends object> {
  readonly #groups: Groups<keyof Events> = new Map();

  /** @returns a function that removes the listener */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    return listen(this.#groups, name, listener);
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    callEach(this.#groups.get(name), event);
  }
}
