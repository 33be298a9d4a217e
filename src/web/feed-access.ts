/** The right to follow changes, the same on every transport. */
import type { Access } from '../access/access.ts';
import type { Principal, Watch } from '../access/principal.ts';
import { closeCodeOf } from '../node/feed/feed-problems.ts';
import type { FeedQuery } from '../node/feed/feed-request.ts';
import { errorMessage, expiringMessage } from '../node/feed/messages/message.ts';
import { StorageError } from '../node/ports/failures.ts';
import type { FollowerSocket } from '../node/ports/follower-socket.ts';
import type { Log } from '../node/ports/world.ts';
import { causeInLog, diskProblem, Problem, unexpectedProblem } from '../node/problem.ts';

/** @throws Problem FORBIDDEN if some of the keys that are asked for may not be read */
export function mustFollow(principal: Principal, { prefixes }: FeedQuery): void {
  for (const prefix of prefixes.list) principal.mustCover('read', prefix);
}

/** Ends a feed as soon as the token no longer allows it: an `error` event, then the end. It gets an `expiring` event before. */
export function watchFeed(
  access: Access,
  principal: Principal,
  { prefixes }: FeedQuery,
  socket: FollowerSocket,
): Watch {
  return access.watch(principal, {
    may: (now) => prefixes.list.every((prefix) => now.covers('read', prefix)),
    revoked: (problem) => endWith(socket, problem),
    expiring: (expiresAt) => socket.send(socket.framing(expiringMessage(expiresAt).json, null)),
  });
}

/** Ends a feed with an `error` event that says why. */
export function endWith(socket: FollowerSocket, problem: Problem): void {
  socket.send(socket.framing(errorMessage(problem.code, problem.message, problem.extra).json, null));
  socket.close(closeCodeOf(problem), problem.message);
}

/**
 * Ends a feed with an `error` event, whatever was thrown. The follower learns what a Problem or the disk says; the words of any other
 * error may quote keys, values or files, so they go to the log only.
 */
export function endAfterError(log: Pick<Log, 'error'>, socket: FollowerSocket, error: unknown): void {
  endWith(socket, problemOf(log, socket.peer, error));
}

function problemOf(log: Pick<Log, 'error'>, peer: string, error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof StorageError) {
    const problem = diskProblem(error);
    const cause = causeInLog(problem);
    if (cause !== null) log.error('request-failed', { where: `follower ${peer}`, error: cause });
    return problem;
  }
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  log.error('unexpected-error', { where: `follower ${peer}`, error: text });
  return unexpectedProblem();
}
