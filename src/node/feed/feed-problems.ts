/** Problems of followers that the feed cannot serve, and their close codes. */
import { CloseCode } from '../../replication/close-code.ts';
import type { Decision, FullResyncReason } from '../../replication/decide.ts';
import { formatPosition, type Position } from '../../replication/position.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { inLogOf, StorageError } from '../ports/failures.ts';
import type { Log } from '../ports/world.ts';
import { diskProblem, Problem } from '../problem.ts';

/** @returns the WebSocket close code that corresponds to the problem's HTTP status */
export function closeCodeOf({ code, status }: Problem): CloseCode {
  if (code === 'SHUTTING_DOWN') return CloseCode.goingAway;
  switch (status) {
    case 400:
      return CloseCode.protocolError;
    case 401:
      return CloseCode.unauthorized;
    case 403:
      return CloseCode.forbidden;
    case 410:
      return CloseCode.historyChanged;
    case 429:
      return CloseCode.tooMany;
    default:
      return CloseCode.notReady;
  }
}

/** @returns the problem of a follower whose position is lost and that wants no snapshot */
export function lost(from: Position, reason: FullResyncReason): Problem {
  return new Problem(
    'POSITION_LOST',
    `this node cannot continue after ${formatPosition(from)} (${reason}); ask for a snapshot instead`,
    { reason },
  );
}

/**
 * @param time the time that a follower wants to begin with, in milliseconds since 1970
 * @param earliest the least time that the journal reaches back to
 * @returns the problem of a follower that wants older changes
 */
export function lostTime(time: number, earliest: number): Problem {
  const [wanted, reached] = [time, earliest].map((each) => new Date(each).toISOString()) as [string, string];
  return new Problem(
    'POSITION_LOST',
    `this node has not all changes since ${wanted} any more, only those since ${reached}; --journal-keep says how long it keeps them`,
    { reason: 'behind-backlog', earliest: reached },
  );
}

/**
 * Logs that the journal could not be read for a follower.
 * @param peer the follower's address
 * @returns the problem of the follower. @throws an error that is neither a problem nor of the store
 */
export function notRead(log: Pick<Log, 'error'>, peer: string, error: unknown): Problem {
  log.error('journal-not-read', { follower: peer, error: inLogOf(error) });
  return asProblem(error);
}

/**
 * @param peer address of the follower that wants to continue from there
 * @returns how it continues; a problem if the journal cannot be read, which is logged
 */
export function decisionOf(
  { head, log }: { readonly head: Pick<StreamHead, 'decideFrom'>; readonly log: Pick<Log, 'error'> },
  from: Position,
  peer: string,
): Decision | Problem {
  try {
    return head.decideFrom(from);
  } catch (error) {
    return notRead(log, peer, error);
  }
}

/** @returns the problem of a refused request or a failed store. @throws any other error as it is */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof StorageError) return diskProblem(error);
  throw error;
}
