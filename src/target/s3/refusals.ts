/** Says what an answer of S3 means that is no success. */
import { type TargetCode, TargetError } from '../../node/ports/backup-target.ts';
import { showable, withoutParts } from '../../node/ports/peer-words.ts';
import type { Keys, Place } from './place.ts';
import { readXml, textIn } from './xml.ts';

/** Longest part of the message of a server that is shown, in characters. */
const MAX_SHOWN = 200;
/** Characters of a server's words that are looked at. */
const MAX_WORDS = 8 * MAX_SHOWN;
/** Characters of a key that are hidden also when the rest of it is missing. */
const LEAST_RUN = 8;
/** Takes the place of a key. */
const HIDDEN = '[key]';

/** An answer that is no success. */
export interface Refusal {
  readonly status: number;
  /** The header Date; null: there is none. */
  readonly date: string | null;
  readonly text: string;
}

const CODES: Readonly<Record<string, TargetCode>> = {
  AccessDenied: 'NO_ACCESS',
  AccountProblem: 'NO_ACCESS',
  AllAccessDisabled: 'NO_ACCESS',
  ExpiredToken: 'NO_ACCESS',
  InvalidAccessKeyId: 'NO_ACCESS',
  InvalidToken: 'NO_ACCESS',
  SignatureDoesNotMatch: 'NO_ACCESS',
  NoSuchBucket: 'NO_SUCH_BUCKET',
  InvalidBucketName: 'NO_SUCH_BUCKET',
  NoSuchKey: 'NOT_FOUND',
  RequestTimeTooSkewed: 'CLOCK_SKEW',
  QuotaExceeded: 'TARGET_FULL',
  XMinioStorageFull: 'TARGET_FULL',
  XMinioAdminBucketQuotaExceeded: 'TARGET_FULL',
  EntityTooLarge: 'TARGET_FULL',
  SlowDown: 'TARGET_BUSY',
  RequestTimeout: 'TARGET_BUSY',
  InternalError: 'TARGET_BUSY',
  ServiceUnavailable: 'TARGET_BUSY',
  OperationAborted: 'TARGET_BUSY',
  PermanentRedirect: 'BAD_TARGET',
  AuthorizationHeaderMalformed: 'BAD_TARGET',
};
const STATUSES: Readonly<Record<number, TargetCode>> = {
  401: 'NO_ACCESS',
  403: 'NO_ACCESS',
  408: 'TARGET_BUSY',
  429: 'TARGET_BUSY',
  500: 'TARGET_BUSY',
  502: 'TARGET_BUSY',
  503: 'TARGET_BUSY',
  504: 'TARGET_BUSY',
  507: 'TARGET_FULL',
};

/**
 * @param sentAt the time of this machine that the request has stated: `20261129T060000Z`
 */
export function refused(
  { shown, keys }: Pick<Place, 'shown' | 'keys'>,
  { status, date, text }: Refusal,
  sentAt: string,
): TargetError {
  if (status >= 300 && status < 400) {
    return new TargetError(
      'BAD_TARGET',
      `${shown} answers with a redirect, which is not followed; are AWS_REGION and S3_ENDPOINT those of the bucket?`,
    );
  }
  const root = readXml(text);
  const isError = root?.name === 'Error';
  const s3Code = isError ? textIn(root, 'Code') : '';
  const code = CODES[s3Code] ?? STATUSES[status] ?? (isError ? 'TARGET_FAILED' : 'TARGET_ANSWER');
  if (code === 'CLOCK_SKEW') {
    const there = wordsOf((isError && textIn(root, 'ServerTime')) || date || 'unknown', keys);
    return new TargetError(
      code,
      `${shown} refuses the time of this machine (RequestTimeTooSkewed): here it is ${sentAt}, there ${there}; set the clock`,
    );
  }
  const message = isError ? textIn(root, 'Message') : '';
  const said = [s3Code, message].filter((part) => part !== '').join(': ');
  const detail = said === '' ? 'says no reason' : wordsOf(said, keys);
  return new TargetError(code, `${shown} answers with status ${status}: ${detail}`);
}

/** @returns words of a server, on one short line, without the keys that it was shown and without longer parts of them */
export function wordsOf(words: string, keys: Keys): string {
  const secrets = [keys.accessKeyId, keys.secretAccessKey, keys.sessionToken ?? ''].filter(
    (key) => key !== '',
  );
  const cut = words.slice(0, MAX_WORDS);
  const lengthAt = (dense: string, at: number): number =>
    Math.max(0, ...secrets.map((secret) => runLength(dense, at, secret)));
  return showable(withoutParts(cut, lengthAt, HIDDEN), [], MAX_SHOWN);
}

/** @returns the length of the part of the secret that begins here; 0: it is short, or none does. A server may cut what it repeats. */
function runLength(words: string, at: number, secret: string): number {
  let length = Math.min(LEAST_RUN, secret.length);
  if (at + length > words.length || !secret.includes(words.slice(at, at + length))) return 0;
  while (at + length < words.length && secret.includes(words.slice(at, at + length + 1))) length += 1;
  return length;
}
