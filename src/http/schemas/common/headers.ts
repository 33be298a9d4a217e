/** Headers that requests bring and answers carry, in the schemas of the routes. */
import { position, positionParameter } from './members.ts';

/** What an answer says of the limit of its client, on a node with `--rate-limit`. */
const RATE_HEADERS = {
  'RateLimit-Policy': {
    description:
      'With `--rate-limit`: how many requests (`q`) one token or one address may send in so many seconds (`w`).',
    type: 'string',
    examples: ['"token";q=100;w=1'],
  },
  RateLimit: {
    description:
      'With `--rate-limit`: requests that are left now (`r`), and seconds (`t`) until all are back.',
    type: 'string',
    examples: ['"token";r=99;t=1'],
  },
} as const;

/** `required`: of the header, not of its schema; `document.ts` moves it. */
export const HEADERS = {
  'Psync-Position': {
    ...position,
    description:
      'Position of this node in the stream; in the answer to a write: the position after the write.',
    required: true,
  },
  'Psync-Role': {
    description: 'Whether this node is the master, which takes writes, or a replica.',
    type: 'string',
    enum: ['master', 'replica'],
    required: true,
  },
  ...RATE_HEADERS,
} as const;
export const ENTRY_HEADERS = {
  ...HEADERS,
  ETag: { description: 'The version, quoted.', type: 'string', examples: ['"1048576"'], required: true },
  'Psync-Expires-At': {
    description: 'Time of expiry in milliseconds since 1970, if the entry expires.',
    type: 'integer',
    examples: [1_900_000_000_000],
  },
} as const;
/** Of an answer with a value, or without it because the client has it. */
export const VALUE_HEADERS = {
  ...ENTRY_HEADERS,
  'Cache-Control': {
    description: 'A cache may keep the value, and asks with its ETag before each use of it.',
    type: 'string',
    enum: ['no-cache'],
    required: true,
  },
} as const;

const IF_MATCH = {
  type: 'string',
  description: 'Only if the entry has one of these versions (`"17"`, `"17", "42"`), or `*`: if there is one.',
} as const;

/** The conditions that a write may bring. */
export const WRITE_HEADERS = {
  type: 'object',
  properties: {
    'If-Match': IF_MATCH,
    'If-None-Match': {
      type: 'string',
      description: '`*`: only if there is no such entry.',
    },
  },
} as const;

export const READ_HEADERS = {
  type: 'object',
  properties: {
    'Psync-Position': {
      ...positionParameter,
      description: 'Answer when this node has reached the position: like `position` in the query.',
    },
    'If-Match': IF_MATCH,
    'If-None-Match': {
      type: 'string',
      description: 'Answer 304 if the entry still has one of these versions (`"17"`, `"17", "42"`).',
    },
  },
} as const;
