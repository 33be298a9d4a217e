/** Ways in which a connection to the feed ends, and what they mean for the follower. */

export type Ending =
  | {
      readonly kind: 'closed';
      /** WebSocket close code; 1006: the connection broke without one. */
      readonly code: number;
      readonly reason: string;
      /** The `error` event before the close, if there was one. */
      readonly error: { readonly code: string; readonly detail: string } | null;
    }
  /** The connection was never established. */
  | { readonly kind: 'unreachable'; readonly detail: string }
  /** The node has sent nothing for so long that the connection counts as dead. */
  | { readonly kind: 'silent'; readonly ms: number }
  /** The node has sent something that is not the feed. */
  | { readonly kind: 'malformed'; readonly detail: string }
  /** The application is too slow: the client closed the connection and resumes once it has caught up. */
  | { readonly kind: 'overrun' }
  /** The application has stopped following. */
  | { readonly kind: 'aborted' };

export type EndingVerdict =
  | { readonly kind: 'stop' }
  | { readonly kind: 'retry'; readonly where: 'same' | 'next'; readonly detail: string }
  | { readonly kind: 'fail'; readonly error: FollowError };

/** Following has failed for good: another attempt would end the same way. */
export class FollowError extends Error {
  override readonly name = 'FollowError';
  /** Stable code of the node's `error` event: `POSITION_LOST`, `BAD_REQUEST`, `FORBIDDEN` … */
  readonly code: string;
  /** WebSocket close code. */
  readonly closeCode: number;

  constructor(code: string, detail: string, closeCode: number) {
    super(detail);
    this.code = code;
    this.closeCode = closeCode;
  }
}

const TOO_FAR_BEHIND = 4413;
/** Close codes from 4400 to 4499 that do not blame the request: timed out, too far behind, too many followers. */
const RETRIED: ReadonlySet<number> = new Set([4408, TOO_FAR_BEHIND, 4429]);
/** Error codes for close codes that come without an `error` event. */
const CODES: Readonly<Record<number, string>> = {
  4400: 'BAD_REQUEST',
  4401: 'UNAUTHORIZED',
  4403: 'FORBIDDEN',
  4409: 'POSITION_LOST',
};

export function endingVerdict(ending: Ending): EndingVerdict {
  switch (ending.kind) {
    case 'aborted':
      return { kind: 'stop' };
    case 'overrun':
      return { kind: 'retry', where: 'same', detail: 'more came than the application took' };
    case 'silent':
      return { kind: 'retry', where: 'next', detail: `nothing came for ${ending.ms} ms` };
    case 'unreachable':
    case 'malformed':
      return { kind: 'retry', where: 'next', detail: ending.detail };
    case 'closed':
      return closed(ending.code, ending.error?.code, ending.error?.detail || ending.reason);
  }
}

function closed(code: number, errorCode: string | undefined, detail: string): EndingVerdict {
  const words = detail || (code === 1006 ? 'the connection broke' : `closed with ${code}`);
  if (code < 4400 || code > 4499 || RETRIED.has(code)) {
    return { kind: 'retry', where: code === TOO_FAR_BEHIND ? 'same' : 'next', detail: words };
  }
  return { kind: 'fail', error: new FollowError(errorCode ?? CODES[code] ?? 'REFUSED', words, code) };
}
