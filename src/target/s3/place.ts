/** Where an S3 bucket is, and the keys for it: from the text of a target and the environment. */
import { TargetError } from '../../node/ports/backup-target.ts';
import { isTargetName } from '../names.ts';

/** Longest prefix, in characters: with the longest name, a key has less than the 1024 bytes that S3 allows. */
const MAX_PREFIX = 400;
const BUCKET = /^(?!.*\.\.)[A-Za-z0-9][\w.-]{1,61}[A-Za-z0-9]$/;
const REGION = /^[\w-]{1,64}$/;
const DEFAULT_REGION = 'us-east-1';

/** What S3 needs to know of its caller. */
export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** null: the keys are not temporary. */
  readonly sessionToken: string | null;
}

export interface Place {
  /** `https://HOST:PORT` */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** '' or `a/b/` */
  readonly prefix: string;
  readonly keys: Keys;
  /** For people: without secrets. */
  readonly shown: string;
}

/**
 * @param text `s3://BUCKET/PREFIX`
 * @throws TargetError BAD_TARGET; the message has no secrets
 */
export function placeOf(text: string, env: Readonly<Record<string, string | undefined>>): Place {
  const [, bucket = '', path = ''] = /^s3:\/\/([^/]*)(?:\/(.*))?$/is.exec(text) ?? [];
  if (bucket === '') throw bad('the target names no bucket; write s3://BUCKET or s3://BUCKET/PREFIX');
  if (!BUCKET.test(bucket)) throw bad(bucketProblem(bucket));
  const prefix = path.replace(/\/$/, '');
  if (prefix.length > MAX_PREFIX) {
    throw bad(`s3://${bucket}/…: a prefix has at most ${MAX_PREFIX} characters`);
  }
  if (prefix !== '' && !isTargetName(prefix)) {
    throw bad(
      `s3://${bucket}/…: a prefix has letters, digits and ".", "_", "-", "+", "=", "@" between its slashes, and no part begins with "."`,
    );
  }
  const region = env.AWS_REGION || DEFAULT_REGION;
  if (!REGION.test(region)) throw bad('AWS_REGION is no name of a region');
  const endpoint = endpointOf(env.S3_ENDPOINT || `https://s3.${region}.amazonaws.com`);
  const shown = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`} at ${endpoint}`;
  return { endpoint, region, bucket, prefix: prefix === '' ? '' : `${prefix}/`, keys: keysIn(env), shown };
}

/** @returns what is wrong with the name, without what may be a secret in it, as in s3://KEY:SECRET@BUCKET */
function bucketProblem(name: string): string {
  const shown = /^[\w.-]{1,80}$/.test(name) ? `s3://${name}` : 's3://…';
  return (
    `${shown}: the name of a bucket has 3 to 63 characters: letters, digits, ".", "-" and "_"; it begins and ends with a letter or a digit, ` +
    'and no dot follows another'
  );
}

function endpointOf(text: string): string {
  const url = URL.parse(text);
  const isPlain =
    url !== null &&
    ['http:', 'https:'].includes(url.protocol) &&
    `${url.username}${url.password}${url.search}${url.hash}` === '' &&
    url.pathname === '/';
  if (!isPlain) throw bad('S3_ENDPOINT is not http://HOST:PORT or https://HOST:PORT');
  return url.origin;
}

function keysIn(env: Readonly<Record<string, string | undefined>>): Keys {
  const accessKeyId = env.AWS_ACCESS_KEY_ID ?? '';
  const secretAccessKey = env.AWS_SECRET_ACCESS_KEY ?? '';
  if (accessKeyId === '' || secretAccessKey === '') {
    throw bad('object storage needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment');
  }
  const sessionToken = env.AWS_SESSION_TOKEN || null;
  // These two are sent in a header. The secret never is.
  if (!/^[!-~]+$/.test(accessKeyId + (sessionToken ?? ''))) {
    throw bad('AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN has characters that no key has');
  }
  return { accessKeyId, secretAccessKey, sessionToken };
}

function bad(message: string): TargetError {
  return new TargetError('BAD_TARGET', message);
}
