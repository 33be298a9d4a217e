/** Examples for the API's document: of every error, and of what is too long to stand in its schema. */
import { Problem, type ProblemCode } from '../../../node/problem.ts';
import { problemBody } from '../../../web/problem-body.ts';

export const EXAMPLE_RUN_ID = '8f3b0c6d1e2a4b5c6d7e8f9a0b1c2d3e4f5a6b7c';
/** SHA-256 of no bytes. */
export const EXAMPLE_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
export const EXAMPLE_HISTORY_HASH = '5bd1e995a2c4f037';
export const EXAMPLE_POSITION = `${EXAMPLE_RUN_ID}:1048576`;

const HISTORY = {
  nodeId: '0a1b2c3d4e5f60718293a4b5c6d7e8f901234567',
  runId: EXAMPLE_RUN_ID,
  offset: 1_048_576,
  position: EXAMPLE_POSITION,
  historyHash: EXAMPLE_HISTORY_HASH,
  lineage: [
    {
      runId: '1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d',
      validTo: 524_288,
      reason: 'promoted',
      at: 1_795_000_000_000,
    },
  ],
  backlog: { size: 1_048_576, firstOffset: 1, length: 1_048_576 },
  window: { firstOffset: 1, length: 1_048_576 },
} as const;

const EXAMPLE_FEED = {
  followers: 2,
  behind: 0,
  inSnapshot: 0,
  counters: { continued: 1, resets: { 'first-sync': 2 }, tooFarBehind: 0 },
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
      lagSeconds: 0.4,
      ackAgeMs: 412,
      sync: { kind: 'partial', bytes: 53 },
    },
  ],
  failover: null,
  writes: { state: 'taken', problem: null, reason: null },
  kept: [],
  verified: null,
  backups: {
    running: false,
    waitsFor: null,
    lastSuccessAt: 1_795_000_004_000,
    last: {
      name: `shop/${EXAMPLE_RUN_ID}/1048523-20261118T110640Z.db`,
      position: EXAMPLE_POSITION,
      at: 1_795_000_000_000,
      bytes: 32_768,
      durationMs: 210,
    },
    gone: null,
    failures: 0,
    failing: null,
  },
  archive: {
    position: EXAMPLE_POSITION,
    at: 1_795_000_004_000,
    lagBytes: 0,
    hasBase: true,
    isWhole: true,
    lastSuccessAt: 1_795_000_004_000,
    failures: 0,
    restarts: 0,
    gap: null,
    failing: null,
  },
  counters: { syncFull: 1, syncPartialOk: 1, syncPartialErr: 0 },
  countersResetAt: null,
  feed: EXAMPLE_FEED,
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
  failover: null,
  writes: {
    state: 'refused',
    problem: 'READONLY',
    reason:
      'this node is a replica; write to http://127.0.0.1:7796 (curl: add -L, or --location-trusted with a token)',
  },
  kept: [
    {
      file: 'replaced-1-1c2d3e4f-524288.db',
      position: '1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d:524288',
      reason: 'past-shared-history',
      at: 1_795_000_000_000,
    },
  ],
  verified: {
    at: 1_795_000_000_000,
    against: 'ws://127.0.0.1:7796',
    position: EXAMPLE_POSITION,
    equal: true,
  },
  backups: null,
  archive: null,
  counters: { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 },
  countersResetAt: null,
  feed: EXAMPLE_FEED,
} as const;

export const EXAMPLE_BACKLOG = {
  position: EXAMPLE_POSITION,
  size: 1_048_576,
  firstOffset: 1,
  length: 1_048_576,
  auto: null,
  rate: { current: 20_480, peak: 40_960 },
  historySeconds: 51.2,
  coversSeconds: 25.6,
  outages: [
    {
      replica: 'ws://127.0.0.1:7797',
      at: 1_795_000_000_000,
      awayMs: 30_000,
      bytes: 614_400,
      kind: 'partial',
    },
  ],
  advice: {
    awaySeconds: 30,
    size: 1_245_184,
    enough: false,
    text:
      '30 s away x 40960 bytes a second at the busiest need 1245184 bytes; the backlog has 1048576. ' +
      'Use --backlog-size 1216kb, or auto:30s.',
  },
} as const;

export const EXAMPLE_SESSIONS = {
  sessions: [
    {
      id: '3',
      peer: '127.0.0.1:51724',
      url: 'ws://127.0.0.1:7797',
      open: true,
      events: [
        { at: 1_795_000_000_000, event: 'connected', fields: {} },
        {
          at: 1_795_000_000_002,
          event: 'full-resync',
          fields: { reason: 'behind-backlog', runId: EXAMPLE_RUN_ID, asked: 17 },
        },
        {
          at: 1_795_000_000_030,
          event: 'snapshot-sent',
          fields: { position: EXAMPLE_POSITION, bytes: 24_576 },
        },
      ],
    },
  ],
} as const;

export const EXAMPLE_INFO = [
  '# Persistence',
  'scrub_in_progress:0',
  'last_scrub_time:1700000000',
  'last_scrub_duration_ms:1800',
  'last_scrub_result:ok',
  'last_scrub_entries:171000',
  '',
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
  UNAUTHORIZED: { detail: 'the token is not valid' },
  FORBIDDEN: {
    detail: 'pages of http://evil.example may not change anything on this node; --allow-origin lets them',
  },
  NOT_FOUND: { detail: 'there is no key "greeting"' },
  UNKNOWN_PATH: { detail: 'there is no /v1/key/greeting here' },
  NOT_JSON: { detail: 'the value of "greeting" is not JSON' },
  NOT_INTEGER: { detail: 'the value of "greeting" is not a 64-bit integer' },
  INTEGER_OVERFLOW: { detail: 'the sum of 9223372036854775807 and 1 has more than 64 bits' },
  PRECONDITION_FAILED: {
    detail:
      '"greeting" has version 1048576, and the condition asks for version 3: read it again, and decide anew',
    extra: { currentVersion: 1_048_576 },
  },
  CIRCLE: {
    detail: 'a circle: this node -> ws://127.0.0.1:7797 -> ws://127.0.0.1:7796, which is this node',
  },
  BAD_PEER: {
    detail:
      'ws://127.0.0.1:7797 says whom it follows, and "ftp://127.0.0.1/x" is no URL of the form ws://HOST:PORT',
  },
  FAILOVER_REFUSED: { detail: 'ws://127.0.0.1:7797 is no replica of this node that is online' },
  FAILOVER_ABORTED: { detail: 'it was aborted; this node is still the master' },
  FAILOVER_TIMED_OUT: { detail: 'after 10000 ms no target had everything; this node is still the master' },
  NOTHING_GUARDED: { detail: 'no full resync waits to be accepted' },
  UNKNOWN_HISTORY: { detail: `${EXAMPLE_POSITION} is of a history that this node does not know` },
  NOREPLICAS: { detail: '0 replicas have acknowledged something within 10000 ms; 1 are required for writes' },
  NOT_REACHED: {
    detail: `this node is at ${EXAMPLE_RUN_ID}:1048523 and did not reach ${EXAMPLE_POSITION} within 5000 ms`,
  },
  POSITION_LOST: {
    detail: `this node cannot continue after ${EXAMPLE_POSITION} (behind-backlog); ask for a snapshot instead`,
    extra: { reason: 'behind-backlog' },
  },
  METHOD_NOT_ALLOWED: { detail: 'POST is not allowed on /v1/keys/greeting' },
  NOT_ACCEPTABLE: { detail: 'the value is not JSON; it can be had as application/octet-stream' },
  REQUEST_TIMEOUT: { detail: 'the request did not arrive in time' },
  VALUE_TOO_LARGE: { detail: 'a value may have at most 16777216 bytes; 20971520 came' },
  BATCH_TOO_LARGE: { detail: 'the effects of the batch have more than 67108864 bytes' },
  BODY_TOO_LARGE: { detail: 'Request body is too large' },
  UNSUPPORTED_MEDIA_TYPE: { detail: 'Unsupported Media Type' },
  RANGE_NOT_SATISFIABLE: { detail: 'the snapshot has 135168 bytes' },
  EXPECTATION_FAILED: { detail: 'the node meets no expectation but 100-continue' },
  UPGRADE_REQUIRED: { detail: 'replicas connect here with a WebSocket of the subprotocol psync.v1' },
  HEADERS_TOO_LARGE: { detail: 'the headers have more than 16 KiB' },
  READONLY: {
    detail: 'this node follows ws://127.0.0.1:7796; write there',
    extra: { master: 'ws://127.0.0.1:7796' },
  },
  TOO_MANY_REQUESTS: { detail: '4 exports are going on already' },
  INTERNAL: { detail: 'the log of the node says more' },
  NOT_IMPLEMENTED: { detail: 'the transfer coding "gzip, chunked" is not understood, only chunked is' },
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
