/** Schema of errors, and the error answers of a route. */

import { PROBLEMS, type ProblemCode } from '../../../node/problem.ts';
import { FULL_RESYNC_REASONS } from '../../../replication/decide.ts';
import { problemExample } from './examples.ts';
import { HEADERS } from './headers.ts';

const PROBLEM_CODES = Object.keys(PROBLEMS) as ProblemCode[];

export const problem = {
  $id: 'Problem',
  type: 'object',
  description: 'An error in the form of RFC 9457.',
  required: ['type', 'title', 'status', 'code', 'detail'],
  properties: {
    type: { type: 'string', format: 'uri', examples: ['urn:psyncd:problem:not-found'] },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', enum: PROBLEM_CODES, description: 'Stable code, for programs.' },
    detail: { type: 'string', description: 'What happened, for people.' },
    master: { type: 'string', description: 'READONLY: the URL of the master.' },
    line: { type: 'integer', minimum: 1, description: 'BAD_LINE: number of the line, counted from 1.' },
    imported: {
      type: 'integer',
      minimum: 0,
      description: 'Number of entries of the import that were written.',
    },
    op: {
      type: 'integer',
      minimum: 0,
      description: 'Index of the failed operation of the batch, counted from 0.',
    },
    reason: {
      type: 'string',
      enum: FULL_RESYNC_REASONS,
      description: 'POSITION_LOST: the reason, one of those of a full resync.',
    },
    window: {
      type: 'object',
      description: 'POSITION_LOST of a difference: the positions between which the node has the stream.',
      required: ['from', 'to'],
      properties: { from: { type: 'string' }, to: { type: 'string' } },
    },
    earliest: {
      type: 'string',
      description: 'POSITION_LOST of a time: the earliest time since which the node has all changes.',
    },
    currentVersion: {
      type: ['integer', 'null'],
      description:
        'PRECONDITION_FAILED: the version of the entry; null: there is no entry. Not there for tokens that may not read the entry.',
    },
  },
} as const;

/** What groups of routes may answer. */
const GROUPS = {
  /** Every route. */
  any: [
    'BAD_REQUEST',
    'UNAUTHORIZED',
    'FORBIDDEN',
    'REQUEST_TIMEOUT',
    'HEADERS_TOO_LARGE',
    'INTERNAL',
    'NOT_IMPLEMENTED',
    'STORAGE_FAILED',
    'SHUTTING_DOWN',
    // Too many tokens that are not valid.
    'TOO_MANY_REQUESTS',
  ],
  /** Every write; what is no media type at all in `Content-Type` is refused also where any would do. */
  write: ['READONLY', 'NOREPLICAS', 'LOADING', 'TOO_MANY_REQUESTS', 'DISK_FULL', 'UNSUPPORTED_MEDIA_TYPE'],
  /** Every read that may wait for a position. */
  wait: ['UNKNOWN_HISTORY', 'NOT_REACHED', 'TOO_MANY_REQUESTS'],
  /** What another listener may serve (`--admin-listen`). */
  admin: ['UNKNOWN_PATH'],
  /** What reads a body as JSON; also a DELETE that brings one. */
  body: ['BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'],
} as const satisfies Readonly<Record<string, readonly ProblemCode[]>>;

type Group = keyof typeof GROUPS;

/** Sent before there is a request that could be answered, so without the headers that every answer carries. */
const WITHOUT_HEADERS: ReadonlySet<ProblemCode> = new Set(['REQUEST_TIMEOUT', 'HEADERS_TOO_LARGE']);

/**
 * Error answers by status: these, and those that every route may give.
 * @param names codes, or groups of codes
 */
export function problems(...names: (Group | ProblemCode)[]): Record<number, object> {
  const wanted = new Set<ProblemCode>([
    ...GROUPS.any,
    ...names.flatMap((name): readonly ProblemCode[] =>
      name in GROUPS ? GROUPS[name as Group] : [name as ProblemCode],
    ),
  ]);
  const codes = PROBLEM_CODES.filter((code) => wanted.has(code));
  const byStatus: Record<number, object> = {};
  for (const status of new Set(codes.map((code) => PROBLEMS[code].status))) {
    const these = codes.filter((code) => PROBLEMS[code].status === status);
    byStatus[status] = {
      description: these.map((code) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(' '),
      headers: {
        ...(these.every((code) => WITHOUT_HEADERS.has(code)) ? {} : HEADERS),
        ...(status === 401 ? { 'WWW-Authenticate': CHALLENGE } : {}),
        ...(status === 307 ? { Location: LOCATION } : {}),
        ...(status === 503 || status === 429 ? { 'Retry-After': RETRY_AFTER } : {}),
      },
      content: {
        'application/problem+json': {
          schema: { $ref: 'Problem#' },
          examples: Object.fromEntries(these.map((code) => [code, problemExample(code)])),
        },
      },
    };
  }
  return byStatus;
}

const RETRY_AFTER = {
  description: 'Seconds after which the client should try again.',
  type: 'integer',
  examples: [1],
  required: true,
} as const;
const CHALLENGE = {
  description: 'How to authenticate (RFC 6750, 3).',
  type: 'string',
  examples: ['Bearer realm="psyncd"'],
  required: true,
} as const;
const LOCATION = {
  description: 'URL of the same call on the master.',
  type: 'string',
  format: 'uri',
  examples: ['http://127.0.0.1:7796/v1/keys/greeting'],
  required: true,
} as const;
