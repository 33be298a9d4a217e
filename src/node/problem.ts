/**
 * Every error that a client can see, in one place: stable code, HTTP status, title. Handlers throw a `Problem`; it is
 * sent as RFC 9457 problem+json.
 */
import type { StorageError } from './ports.ts';

export const PROBLEMS = {
  BAD_REQUEST: { status: 400, title: 'The request is malformed' },
  KEY_TOO_LONG: { status: 400, title: 'The key is too long' },
  BAD_LINE: { status: 400, title: 'A line of the import is malformed' },
  FORBIDDEN: { status: 403, title: 'This is not allowed' },
  NOT_FOUND: { status: 404, title: 'There is no such thing' },
  NOT_JSON: { status: 409, title: 'The value is not JSON' },
  NOT_INTEGER: { status: 409, title: 'The value is not an integer' },
  INTEGER_OVERFLOW: { status: 409, title: 'The result has more than 64 bits' },
  CIRCLE: { status: 409, title: 'The nodes would follow each other in a circle' },
  FAILOVER_REFUSED: { status: 409, title: 'The hand-over is not possible' },
  FAILOVER_ABORTED: { status: 409, title: 'The hand-over was aborted' },
  NOTHING_GUARDED: { status: 409, title: 'There is no full resync that waits to be accepted' },
  UNKNOWN_HISTORY: { status: 412, title: "The position is not on this node's history" },
  PRECONDITION_FAILED: { status: 412, title: 'The entry is not in the state that was asked for' },
  POSITION_LOST: { status: 410, title: 'What follows the position is not there any more' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'The method is not allowed here' },
  NOT_ACCEPTABLE: { status: 406, title: 'The answer has no form that the client accepts' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request took too long to arrive' },
  VALUE_TOO_LARGE: { status: 413, title: 'The value is too large' },
  BATCH_TOO_LARGE: { status: 413, title: 'The effects of the batch are too large' },
  BODY_TOO_LARGE: { status: 413, title: 'The body is too large' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The media type is not supported here' },
  EXPECTATION_FAILED: { status: 417, title: 'What the client expects is not done here' },
  UPGRADE_REQUIRED: { status: 426, title: 'This is for WebSockets' },
  HEADERS_TOO_LARGE: { status: 431, title: 'The request headers are too large' },
  READONLY: { status: 307, title: 'This node is a replica: writes go to its master' },
  TOO_MANY_REQUESTS: { status: 429, title: 'Too much of this is going on already' },
  INTERNAL: { status: 500, title: 'psyncd made a mistake' },
  NOT_IMPLEMENTED: { status: 501, title: 'This is not supported here' },
  BAD_PEER: { status: 502, title: 'Another node has answered what no node would' },
  NOREPLICAS: { status: 503, title: 'Too few replicas are connected for writes' },
  NOT_REACHED: { status: 503, title: 'The node did not reach the position in time' },
  STORAGE_FAILED: { status: 503, title: 'The disk fails' },
  LOADING: { status: 503, title: 'The node is not ready yet' },
  SHUTTING_DOWN: { status: 503, title: 'The node is shutting down' },
  FAILOVER_TIMED_OUT: { status: 504, title: 'The hand-over took too long' },
  DISK_FULL: { status: 507, title: 'The disk is full' },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;

/** A failed write to disk, as the client sees it. */
export function storageProblem(error: StorageError): Problem {
  return diskProblem(error, `nothing was written: ${error.message}`);
}

/** What the disk has refused, where nothing was to be written; or it is not known. */
export function diskProblem(error: StorageError, detail: string = error.message): Problem {
  return new Problem(error.full ? 'DISK_FULL' : 'STORAGE_FAILED', detail);
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

  get status(): number {
    return PROBLEMS[this.code].status;
  }
}
