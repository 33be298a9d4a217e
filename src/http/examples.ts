/** Examples for the API's document: of every error, and of what is too long to stand in its schema. */
import { Problem, type ProblemCode } from '../node/problem.ts';
import { problemBody } from './problem.ts';

export const EXAMPLE_RUN_ID = '8f3b0c6d1e2a4b5c6d7e8f9a0b1c2d3e4f5a6b7c';
export const EXAMPLE_POSITION = `${EXAMPLE_RUN_ID}:1048576`;

const HISTORY = {
  runId: EXAMPLE_RUN_ID,
  offset: 1_048_576,
  position: EXAMPLE_POSITION,
  lineage: [
    {
      runId: '1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d',
      validTo: 524_288,
      reason: 'promoted',
      at: 1_795_000_000_000,
    },
  ],
  backlog: { size: 1_048_576, firstOffset: 1, length: 1_048_576 },
} as const;

export const EXAMPLE_MASTER = {
  role: 'master',
  ...HISTORY,
  upstream: null,
  replicas: [
    {
      id: '3',
      url: 'http://127.0.0.1:7797',
      peer: '127.0.0.1:51724',
      state: 'online',
      offset: 1_048_523,
      lagBytes: 53,
      ackAgeMs: 412,
      sync: { kind: 'partial', bytes: 53 },
    },
  ],
  counters: { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 },
} as const;

export const EXAMPLE_REPLICA = {
  role: 'replica',
  ...HISTORY,
  upstream: {
    url: 'ws://127.0.0.1:7796',
    state: 'streaming',
    lastSync: { kind: 'full', reason: 'behind-backlog', bytes: 24_576, durationMs: 31 },
    lastIoAgeMs: 412,
  },
  replicas: [],
  counters: { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 },
} as const;

export const EXAMPLE_INFO = [
  '# Replication',
  'role:master',
  'connected_slaves:0',
  `master_replid:${EXAMPLE_RUN_ID}`,
  'master_repl_offset:1048576',
  '',
].join('\n');

interface Example {
  readonly detail: string;
  readonly extra?: Readonly<Record<string, unknown>>;
}

/** Each as a client would see it. */
const EXAMPLES: Readonly<Record<ProblemCode, Example>> = {
  BAD_REQUEST: { detail: 'unknown query parameter "tll"' },
  KEY_TOO_LONG: { detail: 'a key may have at most 1024 bytes of UTF-8' },
  BAD_LINE: {
    detail: 'line 3: "key" is not a string; 2 entries before it are in',
    extra: { line: 3, imported: 2 },
  },
  NOT_FOUND: { detail: 'there is no key "greeting"' },
  NOT_JSON: { detail: 'the value of "greeting" is not JSON' },
  NOT_INTEGER: { detail: 'the value of "greeting" is not an integer' },
  INTEGER_OVERFLOW: { detail: 'the result has more than 64 bits' },
  PRECONDITION_FAILED: { detail: '"greeting" has version 1048576', extra: { currentVersion: 1_048_576 } },
  METHOD_NOT_ALLOWED: { detail: 'POST is not allowed on /v1/keys/greeting' },
  NOT_ACCEPTABLE: { detail: 'the value is not JSON; it can be had as application/octet-stream' },
  REQUEST_TIMEOUT: { detail: 'the request did not arrive in time' },
  VALUE_TOO_LARGE: { detail: 'a value may have at most 16777216 bytes; 20971520 came' },
  BATCH_TOO_LARGE: { detail: 'the effects of the batch have more than 134217728 bytes' },
  BODY_TOO_LARGE: { detail: 'Request body is too large' },
  UNSUPPORTED_MEDIA_TYPE: { detail: 'Unsupported Media Type' },
  HEADERS_TOO_LARGE: { detail: 'the headers have more than 16 KiB' },
  READONLY: {
    detail: 'this node follows ws://127.0.0.1:7796; write there',
    extra: { master: 'ws://127.0.0.1:7796' },
  },
  TOO_MANY_REQUESTS: { detail: '4 exports are going on already' },
  INTERNAL: { detail: 'the log of the node says more' },
  STORAGE_FAILED: { detail: 'nothing was written: EIO: i/o error, write' },
  LOADING: { detail: 'the link to ws://127.0.0.1:7796 is connecting' },
  SHUTTING_DOWN: { detail: 'the node is shutting down' },
  DISK_FULL: { detail: 'nothing was written: ENOSPC: no space left on device, write' },
};

export function problemExample(code: ProblemCode): object {
  const { detail, extra } = EXAMPLES[code];
  const value = problemBody(new Problem(code, detail, extra));
  return { summary: value.title, value };
}
