/** The refusals of access, which clients can act upon. */
import { Problem } from '../node/problem.ts';

/** An answer that says how to do better in `WWW-Authenticate` (RFC 6750, 3). */
export class AccessProblem extends Problem {
  declare readonly code: 'UNAUTHORIZED' | 'FORBIDDEN';
  readonly challenge: string;
  readonly #error: string | null;

  constructor(
    code: 'UNAUTHORIZED' | 'FORBIDDEN',
    detail: string,
    error: string | null,
    extra: Readonly<Record<string, unknown>> = {},
  ) {
    super(code, detail, extra);
    this.#error = error;
    this.challenge = `Bearer realm="psyncd"${error === null ? '' : `, error="${error}"`}`;
  }

  override withDetail(detail: string, extra: Readonly<Record<string, unknown>>): AccessProblem {
    return new AccessProblem(this.code, detail, this.#error, extra);
  }
}

/**
 * Why a request was refused that everybody may send who shows who they are: it has no token, something else than one Bearer token, a
 * token that is not valid or has expired, or a certificate that is not in the list; or its address has shown too many such tokens.
 */
export type FailureName = 'missing' | 'malformed' | 'invalid' | 'expired' | 'certificate' | 'limited';

/** Too many requests; the answer says when to come again. */
export class LimitProblem extends Problem {
  readonly retryAfterSeconds: number;
  /** More headers of the answer. */
  readonly headers: object;

  constructor(detail: string, retryAfterSeconds: number, headers: object = {}) {
    super('TOO_MANY_REQUESTS', detail);
    this.retryAfterSeconds = retryAfterSeconds;
    this.headers = headers;
  }
}

/** A request without a token that needs one. */
export function tokenNeeded(): AccessProblem {
  return new AccessProblem('UNAUTHORIZED', 'a token is needed: Authorization: Bearer TOKEN', null);
}

/** A client whose certificate its CA has signed, and to which the list gives no rights. */
export function certificateUnknown(): AccessProblem {
  return new AccessProblem('FORBIDDEN', 'the certificate is in no entry of the list of tokens', null);
}

/** A token that is no good; a client is told the same whatever is wrong with it. */
export function tokenInvalid(): AccessProblem {
  return new AccessProblem('UNAUTHORIZED', 'the token is not valid', 'invalid_token');
}

/** A certificate that had rights until its entry was removed or expired. */
export function certificateInvalid(): AccessProblem {
  return new AccessProblem('UNAUTHORIZED', 'the certificate has lost its entry in the list of tokens', null);
}

/** @returns what the answer to a refused request must carry beside the problem */
export function refusalHeaders(problem: Problem): Readonly<Record<string, string>> {
  if (problem instanceof AccessProblem) return { 'www-authenticate': problem.challenge };
  if (problem instanceof LimitProblem)
    return { 'retry-after': String(problem.retryAfterSeconds), ...problem.headers };
  return {};
}
