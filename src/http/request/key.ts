/** Parses keys in URLs. */
import { type KeyProblem, keyProblem, MAX_KEY_BYTES } from '../../keyspace/key.ts';
import { Problem, type ProblemCode } from '../../node/problem.ts';

export const KEYS_PATH = '/v1/keys/';
/** Operations on a key beside reading and writing it. A key that ends like an operation needs its slash as %2F. */
const OPERATIONS: ReadonlyMap<string, ReadonlySet<string | undefined>> = new Map([
  ['increment', new Set(['POST', 'OPTIONS'])],
  ['append', new Set(['POST', 'OPTIONS'])],
  ['expiry', new Set(['PUT', 'DELETE', 'OPTIONS'])],
]);

/**
 * Escapes the slashes of a key in a URL: clients may write them as they are, but the router's parameters match only one
 * segment.
 */
export function rewriteKeyUrl(url: string, method: string | undefined): string {
  if (!url.startsWith(KEYS_PATH)) return url;
  const query = url.indexOf('?');
  const rest = query === -1 ? url.slice(KEYS_PATH.length) : url.slice(KEYS_PATH.length, query);
  if (!rest.includes('/')) return url;
  const end = endOfKey(rest, method);
  const key = rest.slice(0, end);
  const tail = rest.slice(end) + (query === -1 ? '' : url.slice(query));
  return `${KEYS_PATH}${key.replaceAll('/', '%2F')}${tail}`;
}

/**
 * @param rest of the path, after `KEYS_PATH`
 * @returns the place where the key ends; the name of an operation may follow
 */
export function endOfKey(rest: string, method: string | undefined): number {
  const last = rest.lastIndexOf('/');
  const isOperation = last > 0 && (OPERATIONS.get(rest.slice(last + 1))?.has(method) ?? false);
  return isOperation ? last : rest.length;
}

/** @throws Problem KEY_TOO_LONG or BAD_REQUEST */
export function checkKey(key: string): string {
  const problem = keyProblem(key);
  if (problem !== null) throw badKey(problem);
  return key;
}

/** @param code replaces the problem's own code */
export function badKey(problem: KeyProblem, code?: ProblemCode): Problem {
  switch (problem) {
    case 'too-long':
      return new Problem(code ?? 'KEY_TOO_LONG', `a key may have at most ${MAX_KEY_BYTES} bytes of UTF-8`);
    case 'empty':
      return new Problem(code ?? 'BAD_REQUEST', 'the key is empty');
    case 'not-unicode':
      return new Problem(code ?? 'BAD_REQUEST', 'the key is not Unicode');
  }
}

export function keyNotFound(key: string): Problem {
  return new Problem('NOT_FOUND', `there is no key ${JSON.stringify(key)}`);
}
