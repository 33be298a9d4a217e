/**
 * Every error that a client can see, in one place: stable code, HTTP status, title. A title says what happened and what the client
 * can do; the detail of a `Problem` says it for one request. Handlers throw a `Problem`, which is sent as RFC 9457 problem+json.
 */
import { StorageError, UNTOLD } from './ports/failures.ts';

export const PROBLEMS = {
  BAD_REQUEST: { status: 400, title: 'The request is malformed; correct it' },
  KEY_TOO_LONG: { status: 400, title: 'The key is too long; use a shorter one' },
  BAD_LINE: { status: 400, title: 'A line of the import is malformed; correct it' },
  UNAUTHORIZED: { status: 401, title: 'A valid token is needed; see docs/access.md' },
  FORBIDDEN: { status: 403, title: 'The host, the page or the token may not do this; see the detail' },
  NOT_FOUND: { status: 404, title: 'There is no such key, or whatever else the path names' },
  UNKNOWN_PATH: { status: 404, title: 'The node has no such path; correct the URL' },
  NOT_JSON: { status: 409, title: 'The value is not JSON; set it instead of patching it' },
  NOT_INTEGER: { status: 409, title: 'The value is not an integer; set it first' },
  INTEGER_OVERFLOW: { status: 409, title: 'The result has more than 64 bits; set a smaller value first' },
  CIRCLE: {
    status: 409,
    title: 'The nodes would follow each other in a circle; follow the master of the chain',
  },
  FAILOVER_REFUSED: { status: 409, title: 'The hand-over is not possible now; see the state of replication' },
  FAILOVER_ABORTED: { status: 409, title: 'The hand-over was aborted; start it again if you still want it' },
  NOTHING_GUARDED: { status: 409, title: 'No full resync waits to be accepted' },
  UNKNOWN_HISTORY: {
    status: 412,
    title: "The position is not on this node's history; ask the node that gave it",
  },
  PRECONDITION_FAILED: { status: 412, title: 'The entry does not meet the condition; read it again' },
  POSITION_LOST: {
    status: 410,
    title: 'The node no longer has what the position needs; begin anew without it',
  },
  METHOD_NOT_ALLOWED: { status: 405, title: 'The path does not have this method; use one that Allow names' },
  NOT_ACCEPTABLE: { status: 406, title: 'The answer has no form that the client accepts; change Accept' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request took too long to arrive; send it again' },
  VALUE_TOO_LARGE: { status: 413, title: 'The value is too large; split it' },
  BATCH_TOO_LARGE: { status: 413, title: 'The batch reads or changes too much; split it' },
  BODY_TOO_LARGE: { status: 413, title: 'The body is too large; split it' },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    title: 'The call does not take this type or encoding; send another one',
  },
  RANGE_NOT_SATISFIABLE: {
    status: 416,
    title: 'The range begins behind the end; ask for one that the snapshot has',
  },
  EXPECTATION_FAILED: {
    status: 417,
    title: 'The node meets no expectation but 100-continue; leave Expect out',
  },
  UPGRADE_REQUIRED: { status: 426, title: 'The path is for WebSockets; connect with one' },
  HEADERS_TOO_LARGE: { status: 431, title: 'The request headers are too large; send fewer' },
  READONLY: { status: 307, title: 'This node is a replica; send writes to its master' },
  TOO_MANY_REQUESTS: { status: 429, title: 'A limit of the node is reached; try again later' },
  INTERNAL: { status: 500, title: 'psyncd made a mistake; report it with the log of the node' },
  NOT_IMPLEMENTED: { status: 501, title: 'The node does not support this; do without it' },
  BAD_PEER: { status: 502, title: 'Another node answered what no node answers; check its URL' },
  NOREPLICAS: { status: 503, title: 'Too few replicas are connected for writes; bring replicas back' },
  NOT_REACHED: { status: 503, title: 'The node did not reach the position in time; try again' },
  STORAGE_FAILED: { status: 503, title: 'The disk fails; see the log of the node' },
  LOADING: { status: 503, title: 'The node is not ready yet; try again later' },
  SHUTTING_DOWN: { status: 503, title: 'The node is shutting down; use another node' },
  FAILOVER_TIMED_OUT: { status: 504, title: 'The hand-over took too long; see the state of replication' },
  DISK_FULL: { status: 507, title: 'The disk is full; make room' },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;

/** A failed write to disk, as the client sees it. */
export function storageProblem(error: StorageError): Problem {
  return diskProblem(error, `nothing was written: ${error.message}`);
}

/** What the disk has refused, where nothing was to be written; or it is not known. The `cause` is for the log. */
export function diskProblem(error: StorageError, detail: string = error.message): Problem {
  return Object.assign(new Problem(error.full ? 'DISK_FULL' : 'STORAGE_FAILED', detail), { cause: error });
}

/** @returns what the log has to say of the problem, because its detail says that the log says more; null: nothing */
export function causeInLog(problem: Problem): string | null {
  const { cause, message } = problem;
  return cause instanceof StorageError && message.includes(UNTOLD) ? cause.inLog : null;
}

/** @returns what others are told after an error that nobody expects; the caller logs it */
export function unexpectedProblem(): Problem {
  return new Problem('INTERNAL', UNTOLD);
}

export class Problem extends Error {
  override readonly name = 'Problem';
  readonly code: ProblemCode;
  /** More members of the problem+json object. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(code: ProblemCode, detail: string, extra: Readonly<Record<string, unknown>> = {}) {
    super(detail);
    this.code = code;
    this.extra = extra;
  }

  /** For others than the client, whose detail may name its keys. */
  get told(): string {
    return PROBLEMS[this.code].title;
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  /** @returns the same problem with another detail and other members */
  withDetail(detail: string, extra: Readonly<Record<string, unknown>>): Problem {
    return new Problem(this.code, detail, extra);
  }
}
