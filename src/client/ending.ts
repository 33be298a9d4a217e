/** Ways in which a connection to the feed ends, and what they mean for the follower. */

export interface Ending {
  /** What has happened, for people. */
  readonly detail: string;
  /** WebSocket close code. */
  readonly closeCode: number;
  /** The node refuses the request: it would refuse the same one again. */
  readonly refusal?: FollowError | undefined;
}

/** Following has failed for good: another attempt would end the same way. */
export class FollowError extends Error {
  override readonly name = 'FollowError';
  /** Stable code of the node's `error` event: `POSITION_LOST`, `BAD_REQUEST`, `FORBIDDEN` … */
  declare readonly code: string;
  /** WebSocket close code. */
  declare readonly closeCode: number;

  constructor(code: string, detail: string, closeCode: number) {
    super(detail);
    this.code = code;
    this.closeCode = closeCode;
  }
}

export const BAD_REQUEST = 4400;
export const UNAUTHORIZED = 4401;
export const TOO_FAR_BEHIND = 4413;
/** No node sends it: the follower itself refuses the snapshot. */
export const TOO_LARGE = 4414;
/** Close codes from 4400 to 4499, but for those that do not blame the request: timed out, too far behind, too many followers. */
const FINAL = /^44(?!08|13|29)..$/;
/** Error codes for close codes that come without an `error` event. */
const CODES: Readonly<Record<number, string>> = {
  [BAD_REQUEST]: 'BAD_REQUEST',
  [UNAUTHORIZED]: 'UNAUTHORIZED',
  4403: 'FORBIDDEN',
  4409: 'POSITION_LOST',
};

/** Most characters of what a node says: pages show it. */
const MAX_DETAIL = 300;

/**
 * @param reason for people; empty: the close code says all that there is to say
 * @param closeCode WebSocket close code; default: 1006, the connection broke without one
 * @param error the `error` event before the close, if there was one
 */
export function endingOf(
  reason: string,
  closeCode = 1006,
  error?: { readonly code: string; readonly detail: string },
): Ending {
  const words = closeCode === 1006 ? 'the connection broke' : `closed with ${closeCode}`;
  const detail = (error?.detail || reason || words).slice(0, MAX_DETAIL);
  return {
    detail,
    closeCode,
    refusal: FINAL.test(`${closeCode}`)
      ? new FollowError(error?.code ?? CODES[closeCode] ?? 'REFUSED', detail, closeCode)
      : undefined,
  };
}
