/**
 * Owners for errors that no caller catches. A callback of a timer or a socket that throws, and a promise that nobody awaits and
 * that rejects, would end the process. With these functions the error goes to an owner, which logs it and closes or repeats the
 * work that failed.
 */
import type { SocketEvents } from './ports/stream-socket.ts';
import type { Log, World } from './ports/world.ts';

/** Takes an error that nobody expects. */
export type Owner = (error: unknown) => void;

/** Gives the error to the owner if the promise rejects. The caller does not await the promise. */
export function unattended(work: Promise<unknown>, owner: Owner): void {
  work.catch(owner);
}

/** @returns the same world; an error that one of its callbacks throws goes to the owner */
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

/** @returns the same handlers for a socket of `psync.v1`; an error that a handler throws goes to the owner */
export function ownedSocketEvents(events: SocketEvents, owner: Owner): SocketEvents {
  return {
    message: (bytes) => attempt(() => events.message(bytes), owner),
    alive: () => attempt(() => events.alive(), owner),
    pinged: (text) => attempt(() => events.pinged(text), owner),
    closed: (code, reason) => attempt(() => events.closed(code, reason), owner),
  };
}

/** @returns a callback that gives the errors of `callback` to the owner instead of throwing them */
export function owned(callback: () => void, owner: Owner): () => void {
  return () => attempt(callback, owner);
}

/** Does the work now, and gives an error that it throws to the owner. */
export function attempt(work: () => void, owner: Owner): void {
  try {
    work();
  } catch (error) {
    owner(error);
  }
}

/**
 * Logs an error that nobody expects, with its stack, because it is a mistake in psyncd.
 * @param where the part of the node that failed, for people: `link`, `session 3`
 */
export function logUnexpected(log: Log, where: string, error: unknown): void {
  log.error('unexpected-error', {
    where,
    error: error instanceof Error ? (error.stack ?? String(error)) : String(error),
  });
}
