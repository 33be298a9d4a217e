/** How a connection to the feed can end, and what that means for the one who follows. */

export type Ending =
  | {
      readonly kind: 'closed';
      /** A WebSocket close code; 1006: there was none. */
      readonly code: number;
      readonly reason: string;
      /** The `error` event that came before. */
      readonly error: { readonly code: string; readonly detail: string } | null;
    }
  /** It was never up. */
  | { readonly kind: 'unreachable'; readonly detail: string }
  /** Nothing came for so long that there is nobody any more. */
  | { readonly kind: 'silent'; readonly ms: number }
  /** What came is not the feed. */
  | { readonly kind: 'malformed'; readonly detail: string }
  /** More came than the application takes: closed from this side, to go on when it has caught up. */
  | { readonly kind: 'overrun' }
  /** The application does not want any more. */
  | { readonly kind: 'aborted' };

export type EndingVerdict =
  | { readonly kind: 'stop' }
  | { readonly kind: 'retry'; readonly where: 'same' | 'next'; readonly detail: string }
  | { readonly kind: 'fail'; readonly error: FollowError };

/** Following cannot go on, and the same again would end the same way. */
export class FollowError extends Error {
  override readonly name = 'FollowError';
  /** The stable code of the node's `error` event: `POSITION_LOST`, `BAD_REQUEST`, `FORBIDDEN` … */
  readonly code: string;
  /** The close code of the WebSocket. */
  readonly closeCode: number;

  constructor(code: string, detail: string, closeCode: number) {
    super(detail);
    this.code = code;
    this.closeCode = closeCode;
  }
}

const TOO_FAR_BEHIND = 4413;
/** The close codes from 4400 to 4499 that do not say that the request is wrong: timed out, behind, too many. */
const RETRIED: ReadonlySet<number> = new Set([4408, TOO_FAR_BEHIND, 4429]);
/** What a code means when no `error` event has said it. */
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
      return { kind: 'retry', where: 'same', detail: 'more came than was taken' };
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
