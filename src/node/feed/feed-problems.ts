/** What a follower is told when it cannot be served, or not any more. */
import { CloseCode } from '../../replication/close-code.ts';
import type { FullResyncReason } from '../../replication/decide.ts';
import { formatPosition, type Position } from '../../replication/position.ts';
import { StorageError } from '../ports.ts';
import { Problem } from '../problem.ts';

/** The close code of a WebSocket that says what the problem's HTTP status does. */
export function closeCodeOf({ code, status }: Problem): CloseCode {
  if (code === 'SHUTTING_DOWN') return CloseCode.goingAway;
  switch (status) {
    case 400:
      return CloseCode.protocolError;
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

/** Its position cannot be continued from, and it wants no snapshot. */
export function lost(from: Position, reason: FullResyncReason): Problem {
  return new Problem(
    'POSITION_LOST',
    `what follows ${formatPosition(from)} cannot be served any more (${reason}); a snapshot can`,
    { reason },
  );
}

/** @throws what is no fault of the request's, nor of the disk's */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof StorageError) return new Problem('STORAGE_FAILED', error.message);
  throw error;
}
