/**
 * What nobody waits for has an owner all the same. A callback of a timer or a socket that throws, or a promise that nobody
 * awaits and that rejects, would end the process; with these helpers it goes to the owner, who logs it and closes or repeats
 * what failed.
 */
import type { Log, SocketEvents, World } from './ports.ts';

/** What an owner does with an error that nobody expects. */
export type Owner = (error: unknown) => void;

/** Lets a promise go: if it rejects, its owner hears of it. */
export function unattended(work: Promise<unknown>, owner: Owner): void {
  work.catch(owner);
}

/** @returns the same world; what its callbacks throw goes to the owner */
export function ownedWorld(world: World, owner: Owner): World {
  return {
    now: () => world.now(),
    monotonic: () => world.monotonic(),
    random: () => world.random(),
    newRunId: () => world.newRunId(),
    after: (delayMs, callback) => world.after(delayMs, owned(callback, owner)),
    soon: (callback) => world.soon(owned(callback, owner)),
  };
}

/** @returns the events of a socket of `psync.v1`; what a handler throws goes to the owner */
export function ownedSocketEvents(events: SocketEvents, owner: Owner): SocketEvents {
  return {
    message: (bytes) => attempt(() => events.message(bytes), owner),
    alive: () => attempt(() => events.alive(), owner),
    pinged: (text) => attempt(() => events.pinged(text), owner),
    closed: (code, reason) => attempt(() => events.closed(code, reason), owner),
  };
}

/** @returns a callback that does not throw */
export function owned(callback: () => void, owner: Owner): () => void {
  return () => attempt(callback, owner);
}

/** Does it now; what it throws goes to the owner. */
export function attempt(work: () => void, owner: Owner): void {
  try {
    work();
  } catch (error) {
    owner(error);
  }
}

/**
 * Logs an error that nobody expects: it is a mistake in psyncd, so it comes with its stack.
 * @param where whose it is, for people: `link`, `session 3`
 */
export function logUnexpected(log: Log, where: string, error: unknown): void {
  log.error('unexpected-error', {
    where,
    error: error instanceof Error ? (error.stack ?? String(error)) : String(error),
  });
}
