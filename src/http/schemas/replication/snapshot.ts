/** Schemas of `/v1/snapshot` and `/v1/snapshots`. */
import { EXAMPLE_HISTORY_HASH, EXAMPLE_RUN_ID, EXAMPLE_SHA256 } from '../common/examples.ts';
import { HEADERS } from '../common/headers.ts';
import { historyHash, RUN_ID } from '../common/members.ts';
import { SHA256_PATTERN } from '../common/patterns.ts';
import { waitParameters, waitQuery } from '../common/queries.ts';

export const snapshotQuery = {
  ...waitQuery,
  properties: {
    ...waitParameters,
    position: {
      ...waitParameters.position,
      description: `${waitParameters.position.description} The snapshot then has at least what the position has.`,
    },
  },
} as const;

export const snapshotParams = {
  type: 'object',
  required: ['runId', 'offset'],
  properties: {
    runId: { ...RUN_ID, description: 'Run ID of the position of the snapshot.' },
    offset: {
      type: 'string',
      description: 'Offset of the position of the snapshot.',
      examples: ['1048576'],
    },
  },
} as const;

export const snapshotFileQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    sha256: {
      type: 'string',
      pattern: SHA256_PATTERN,
      description:
        'SHA-256 of the bytes that the client means. Without it: of those that the node has. Another node, or this node after a ' +
        'restart, may have other bytes of the same position.',
    },
  },
} as const;

export const snapshotHeaders = {
  type: 'object',
  properties: {
    Range: {
      type: 'string',
      description:
        'One range of bytes, such as `bytes=1048576-` or `bytes=-100`; it counts only if the URL has `sha256`. The answer to several that do not overlap is everything.',
    },
    'If-Range': {
      type: 'string',
      description:
        'The `Range` counts if the snapshot has this ETag and the URL has its `sha256`; otherwise the answer is everything.',
    },
    'If-Match': {
      type: 'string',
      description: 'Only if the snapshot has one of these ETags and the URL has its `sha256`.',
    },
    'If-None-Match': {
      type: 'string',
      description: 'Answer 304 if the snapshot has one of these ETags and the URL has its `sha256`.',
    },
  },
} as const;

const FILE_HEADERS = {
  ...HEADERS,
  'Psync-Position': { ...HEADERS['Psync-Position'], description: 'Position of the snapshot.' },
  'Psync-History-Hash': {
    description: 'The history hash at the position of the snapshot; absent if the node does not know it.',
    type: historyHash.type,
    pattern: historyHash.pattern,
    examples: [EXAMPLE_HISTORY_HASH],
  },
  'Psync-Needs-Tokens': {
    description:
      'Whether the node needs tokens, or shows its master a token or a certificate: then what is made of the snapshot must not be served to everybody.',
    type: 'string',
    enum: ['true', 'false'],
    required: true,
  },
  ETag: {
    description:
      'Run ID and offset of the position. Two nodes may have different files of one position, so the ETag counts only in a request ' +
      'whose URL has the `sha256`.',
    type: 'string',
    examples: [`"${EXAMPLE_RUN_ID}/1048576"`],
    required: true,
  },
  'Accept-Ranges': { type: 'string', enum: ['bytes'], description: 'What a `Range` counts.', required: true },
  'Repr-Digest': {
    description: 'SHA-256 of the whole snapshot (RFC 9530), also in the answer with a part of it.',
    type: 'string',
    examples: [`sha-256=:${Buffer.from(EXAMPLE_SHA256, 'hex').toString('base64')}:`],
    required: true,
  },
  'Cache-Control': {
    description: 'The bytes of this URL never change.',
    type: 'string',
    enum: ['private, immutable'],
    required: true,
  },
} as const;

const CONTENT_RANGE = {
  description: 'The range of the bytes, and the length of the snapshot.',
  type: 'string',
  required: true,
} as const;

const CONTENT = {
  'application/vnd.sqlite3': {
    schema: {
      contentMediaType: 'application/vnd.sqlite3',
      description: 'A keyspace file: a database of SQLite.',
    },
  },
} as const;

/** The answers with the file, or a part of it, by status. */
export const snapshotAnswers = {
  200: { description: 'The snapshot.', headers: FILE_HEADERS, content: CONTENT },
  206: {
    description: 'The range of the snapshot.',
    headers: { ...FILE_HEADERS, 'Content-Range': { ...CONTENT_RANGE, examples: ['bytes 0-99/135168'] } },
    content: CONTENT,
  },
  304: { description: 'The client has the snapshot already.', headers: FILE_HEADERS, type: 'null' },
} as const;

/** The answer with the place of the file. */
export const snapshotPlace = {
  description: 'The snapshot is at `Location`.',
  headers: {
    ...HEADERS,
    'Psync-Position': { ...HEADERS['Psync-Position'], description: 'Position of the snapshot.' },
    Location: {
      description:
        'URL of the snapshot, relative to this one. A download that broke off continues there. For a request with `If-Range`, ' +
        '`If-Match` or `If-None-Match` it has no `sha256`, because the client may have another file of the same position.',
      type: 'string',
      format: 'uri-reference',
      examples: [`/v1/snapshots/${EXAMPLE_RUN_ID}/1048576?sha256=${EXAMPLE_SHA256}`],
      required: true,
    },
    'Cache-Control': {
      description: 'Another time there is another snapshot.',
      type: 'string',
      enum: ['no-store'],
      required: true,
    },
  },
  type: 'null',
} as const;

/** The headers of the answer to a range that the snapshot does not have. */
export const unsatisfiedHeaders = {
  ...HEADERS,
  'Content-Range': {
    ...CONTENT_RANGE,
    description: 'The length of the snapshot.',
    examples: ['bytes */135168'],
  },
} as const;
