import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { SyncRequest } from '../../src/replication/decide.ts';
import { offset } from '../../src/replication/position.ts';
import {
  authStep,
  type CommandKind,
  LOCKED_SESSION,
  NEW_SESSION,
  type SessionEffect,
  type SessionState,
  sessionStep,
} from '../../src/replication/session-machine.ts';
import { runId } from '../support/arbitraries.ts';

const A = runId('a');

/** Says the lines one after the other, words split at spaces. */
function converse(...lines: readonly string[]): { state: SessionState; effects: readonly SessionEffect[] } {
  let state = NEW_SESSION;
  const effects: SessionEffect[] = [];
  for (const line of lines) {
    const [next, said] = sessionStep(state, line.split(' '));
    state = next;
    effects.push(...said);
  }
  return { state, effects };
}

test('a replica says hello, announces itself, asks, and acknowledges', () => {
  const { state, effects } = converse(
    'PING',
    'REPLCONF listening-url ws://replica:7796 node-id n1 capa psync2 capa sqlite',
    `PSYNC ${A} 51`,
    'REPLCONF ACK 50',
    'replconf ack 120',
    'REPLCONF ACK 130 FACK 120',
  );
  assert.deepEqual(effects, [
    reply('+PONG'),
    reply('+OK'),
    start({ kind: 'psync', runId: A, asked: 51, hash: null }),
    { kind: 'acknowledged', offset: 50, durable: null },
    { kind: 'acknowledged', offset: 120, durable: null },
    { kind: 'acknowledged', offset: 130, durable: 120 },
  ]);
  assert.deepEqual(state, {
    kind: 'syncing',
    listeningUrl: 'ws://replica:7796',
    nodeId: 'n1',
    capabilities: ['psync2', 'sqlite'],
    partial: null,
  });
});

for (const [line, request] of [
  ['SYNC', { kind: 'sync' }],
  ['sync', { kind: 'sync' }],
  ['PSYNC ? -1', { kind: 'psync-first' }],
  ['PSYNC ? 0', { kind: 'psync-first' }],
  [`psync ${A.toUpperCase()} 1`, { kind: 'psync', runId: A, asked: 1, hash: null }],
  [`PSYNC ${A} 0`, { kind: 'psync', runId: A, asked: 0, hash: null }],
  [`PSYNC ${A} -5`, { kind: 'psync', runId: A, asked: -5, hash: null }],
  [`PSYNC ${A} 9007199254740991`, { kind: 'psync', runId: A, asked: Number.MAX_SAFE_INTEGER, hash: null }],
  // Numbers beyond what a double counts are numbers: nothing has come so far.
  [`PSYNC ${A} 9007199254740992`, { kind: 'psync', runId: A, asked: Number.MAX_SAFE_INTEGER, hash: null }],
  [`PSYNC ${A} 9223372036854775807`, { kind: 'psync', runId: A, asked: Number.MAX_SAFE_INTEGER, hash: null }],
  [
    `PSYNC ${A} -9223372036854775808`,
    { kind: 'psync', runId: A, asked: Number.MIN_SAFE_INTEGER, hash: null },
  ],
  ['PSYNC replicationid -1', { kind: 'psync-unknown' }],
  [`PSYNC ${A}0 1`, { kind: 'psync-unknown' }],
  [`PSYNC ${A.slice(1)} 1`, { kind: 'psync-unknown' }],
  [`PSYNC ${'g'.repeat(40)} 1`, { kind: 'psync-unknown' }],
  ['PSYNC  1', { kind: 'psync-unknown' }],
  ['PSYNC ?? 1', { kind: 'psync-first' }],
] as const) {
  test(`${JSON.stringify(line)} starts a sync, without any greeting before it`, () => {
    const { state, effects } = converse(line);
    assert.deepEqual(effects, [start(request)]);
    assert.equal(state.kind, 'syncing');
  });
}

test('PSYNC brings the history hash that was announced last, and none if it is none', () => {
  const ask = (...capabilities: readonly string[]): unknown =>
    converse(`REPLCONF ${capabilities.map((each) => `capa ${each}`).join(' ')}`, `PSYNC ${A} 51`).effects.at(
      -1,
    );
  const asked = { kind: 'psync', runId: A, asked: 51 } as const;
  assert.deepEqual(ask('history-hash'), start({ ...asked, hash: null }));
  assert.deepEqual(ask('history-hash-00000000000000ff'), start({ ...asked, hash: 255n }));
  assert.deepEqual(
    ask('history-hash-00000000000000ff', 'history-hash-0000000000000001'),
    start({ ...asked, hash: 1n }),
  );
  assert.deepEqual(ask('history-hash-FF00000000000000'), start({ ...asked, hash: null }));
  assert.deepEqual(ask('history-hash-ff'), start({ ...asked, hash: null }));
});

test('PSYNC … FAILOVER asks this node to become the master, and needs a position', () => {
  const asked = { kind: 'psync', runId: A, asked: 51, hash: null } as const;
  assert.deepEqual(converse(`psync ${A} 51 failover`).effects, [start(asked, true)]);
  const { state, effects } = converse('PSYNC ? -1 FAILOVER');
  assert.deepEqual(effects, [reply('-ERR FAILOVER needs a run ID')]);
  assert.equal(state.kind, 'greeting');
});

const NOT_AN_INTEGER = '-ERR value is not an integer or out of range';
const NOT_A_URL = '-ERR listening-url is no URL of the form ws://HOST:PORT';
const NOT_AN_ID = '-ERR node-id is not 1 to 64 printable characters';
/** What a replica that means no good would have shown in INFO, or dialled after a hand-over. */
const NOT_A_PART = '-ERR snapshot is not <run ID>:<offset>:<length>:<bytes>:<crc32>';
/** What a hostile replica may say that it has of a snapshot. */
const NOT_PARTS = [
  '',
  'all',
  `${A}:7`,
  `${A}:7:900:512`,
  `${A}:7:900:512:c0ffee`,
  `${A}:7:900:512:00c0ffee:1`,
  `${A}:7:900:0:00c0ffee`,
  `${A}:7:900:901:00c0ffee`,
  `${A}:7:900:-1:00c0ffee`,
  `${A}:-7:900:512:00c0ffee`,
  `${A}:7:900:1e2:00c0ffee`,
  `${A}:7:900:0512:00c0ffee`,
  `${A}:7:99999999999999:512:00c0ffee`,
  `${A}:7:999999999999999999999999:512:00c0ffee`,
  `${A}:99999999999999999999:900:512:00c0ffee`,
  `${A}:9999999999999999:900:512:00c0ffee`,
  `${A.slice(1)}:7:900:512:00c0ffee`,
  `?:7:900:512:00c0ffee`,
  `${A}:7:900:512:00c0ffee\r\n+OK`,
  `${A}:7:900:${'9'.repeat(8_000)}:00c0ffee`,
];

const NOT_URLS = [
  'nonsense',
  'http://h:1',
  'ws://h:99999',
  'ws://h:1/v1/keys/k?x=',
  'ws://user:secret@h:1',
  'ws://h,state=online,offset=9:1',
  'ws://h:1\r\nmaster_replid:0',
  'ws://h:1\u009b2J',
  `ws://${'x'.repeat(300)}:1`,
];
const WRONG_COUNT = "-ERR wrong number of arguments for 'psync' command";

for (const [line, answer] of [
  [`PSYNC ${A} 1.5`, NOT_AN_INTEGER],
  [`PSYNC ${A} x`, NOT_AN_INTEGER],
  [`PSYNC ${A} 1e3`, NOT_AN_INTEGER],
  [`PSYNC ${A} +1`, NOT_AN_INTEGER],
  [`PSYNC ${A} 007`, NOT_AN_INTEGER],
  [`PSYNC ${A} 00`, NOT_AN_INTEGER],
  [`PSYNC ${A} -0`, NOT_AN_INTEGER],
  [`PSYNC ${A} -01`, NOT_AN_INTEGER],
  [`PSYNC ${A} -`, NOT_AN_INTEGER],
  [`PSYNC ${A} 0x1`, NOT_AN_INTEGER],
  [`PSYNC ${A} 1\n`, NOT_AN_INTEGER],
  [`PSYNC ${A} 9223372036854775808`, NOT_AN_INTEGER],
  [`PSYNC ${A} -9223372036854775809`, NOT_AN_INTEGER],
  [`PSYNC ${A} 99999999999999999999`, NOT_AN_INTEGER],
  [`PSYNC ${A} `, NOT_AN_INTEGER],
  ['PSYNC nonsense 1 FAILOVER', '-ERR FAILOVER needs a run ID'],
  ['PSYNC ? x', NOT_AN_INTEGER],
  ['PSYNC', WRONG_COUNT],
  [`PSYNC ${A}`, WRONG_COUNT],
  [`PSYNC ${A} 1 FAILBACK`, WRONG_COUNT],
  ['REPLCONF', '-ERR syntax error'],
  ['REPLCONF capa', '-ERR syntax error'],
  ['REPLCONF capa psync2 capa', '-ERR syntax error'],
  ['REPLCONF rdb-only 1', '-ERR Unrecognized REPLCONF option: rdb-only'],
  ['REPLCONF \r\n+OK 1', '-ERR Unrecognized REPLCONF option: ??+ok'],
  ...NOT_URLS.map((url) => [`REPLCONF listening-url ${url}`, NOT_A_URL] as const),
  ['REPLCONF node-id ', NOT_AN_ID],
  [`REPLCONF node-id ${'x'.repeat(65)}`, NOT_AN_ID],
  ['REPLCONF node-id a\r\nslave1:x', NOT_AN_ID],
  ...NOT_PARTS.map((part) => [`REPLCONF snapshot ${part}`, NOT_A_PART] as const),
] as const) {
  test(`${JSON.stringify(line.slice(0, 60))} is answered ${JSON.stringify(answer)} and changes nothing`, () => {
    assert.deepEqual(converse(line), { state: NEW_SESSION, effects: [reply(answer)] });
  });
}

test('options before an unknown option are not kept either', () => {
  assert.deepEqual(converse('REPLCONF node-id n1 colour red').state, NEW_SESSION);
});

test('the part of a snapshot that a replica announces last is the one that counts', () => {
  const { state, effects } = converse(
    `REPLCONF snapshot ${A}:7:900:512:00c0ffee`,
    `REPLCONF snapshot ${A}:8:900:900:ffffffff`,
  );
  assert.deepEqual(state.partial, {
    position: { runId: A, offset: offset(8) },
    length: 900,
    bytes: 900,
    crc32: 0xffffffff,
  });
  assert.deepEqual(effects, [reply('+OK'), reply('+OK')]);
});

test('an unknown capability is fine', () => {
  const { state, effects } = converse('REPLCONF capa eof capa time-travel');
  assert.deepEqual([state.capabilities, effects], [['eof', 'time-travel'], [reply('+OK')]]);
});

test('capabilities are bounded, however many are announced', () => {
  const { state } = converse(...Array.from({ length: 100 }, (_, index) => `REPLCONF capa c${index}`));
  assert.equal(state.capabilities.length, 16);
});

test('a replica that asks because its data differs says so in place of a run ID', () => {
  const [state, effects] = sessionStep(NEW_SESSION, ['PSYNC', '?different-data', '-1']);
  assert.equal(state.kind, 'syncing');
  assert.deepEqual(effects, [{ kind: 'start-sync', request: { kind: 'psync-different' }, failover: false }]);
  assert.deepEqual(sessionStep(NEW_SESSION, ['PSYNC', '?anything', '-1'])[1], [
    { kind: 'start-sync', request: { kind: 'psync-first' }, failover: false },
  ]);
});

test('an overlong capability is accepted, and not kept', () => {
  const { state, effects } = converse(`REPLCONF capa ${'x'.repeat(4_000)} capa psync2`);
  assert.deepEqual([state.capabilities, effects], [['psync2'], [reply('+OK')]]);
});

test('an announced URL is kept in the one form in which URLs are compared', () => {
  assert.equal(converse('REPLCONF listening-url WS://Node:7796/').state.listeningUrl, 'ws://node:7796');
});

for (const [what, ...lines] of [
  ['ACK before PSYNC', 'REPLCONF ACK 5'],
  ['a command that is none of the handshake', 'GET k'],
  ['nothing at all', ''],
  ['PING after PSYNC', 'PSYNC ? -1', 'PING'],
  ['a second PSYNC', 'PSYNC ? -1', 'PSYNC ? -1'],
  ['SYNC after PSYNC', 'PSYNC ? -1', 'SYNC'],
  ['another REPLCONF after PSYNC', 'PSYNC ? -1', 'REPLCONF capa eof'],
  ['ACK together with more', 'PSYNC ? -1', 'REPLCONF ACK 5 GETACK 5'],
  ['FACK past ACK', 'PSYNC ? -1', 'REPLCONF ACK 5 FACK 6'],
  ['FACK of no number', 'PSYNC ? -1', 'REPLCONF ACK 5 FACK x'],
  ['FACK without an offset', 'PSYNC ? -1', 'REPLCONF ACK 5 FACK'],
  ['FACK without ACK', 'PSYNC ? -1', 'REPLCONF FACK 5'],
  ['ACK without an offset', 'PSYNC ? -1', 'REPLCONF ACK'],
  ['ACK of no number', 'PSYNC ? -1', 'REPLCONF ACK x'],
  ['ACK of a negative number', 'PSYNC ? -1', 'REPLCONF ACK -1'],
  ['ACK with a zero in front', 'PSYNC ? -1', 'REPLCONF ACK 07'],
  ['ACK of 2^53', 'PSYNC ? -1', 'REPLCONF ACK 9007199254740992'],
] as const) {
  test(`${what} ends the conversation`, () => {
    assert.equal(converse(...lines).effects.at(-1)?.kind, 'protocol-error');
  });
}

/** One command of each kind, as a replica sends it. */
const COMMANDS: { readonly [C in CommandKind]: string } = {
  ping: 'PING',
  auth: 'AUTH token',
  announce: 'REPLCONF node-id n1',
  ack: 'REPLCONF ACK 5',
  sync: 'SYNC',
  psync: 'PSYNC ? -1',
  unknown: 'GET k',
};
/** What each command does in each state: the state after it, and the effect. */
const OUTCOMES: {
  readonly [S in SessionState['kind']]: {
    readonly [C in CommandKind]: readonly [SessionState['kind'], SessionEffect['kind']];
  };
} = {
  locked: {
    ping: ['locked', 'reply'],
    auth: ['locked', 'authenticate'],
    announce: ['locked', 'reply'],
    ack: ['locked', 'reply'],
    sync: ['locked', 'reply'],
    psync: ['locked', 'reply'],
    unknown: ['locked', 'reply'],
  },
  greeting: {
    ping: ['greeting', 'reply'],
    auth: ['greeting', 'authenticate'],
    announce: ['greeting', 'reply'],
    ack: ['greeting', 'protocol-error'],
    sync: ['syncing', 'start-sync'],
    psync: ['syncing', 'start-sync'],
    unknown: ['greeting', 'protocol-error'],
  },
  syncing: {
    ping: ['syncing', 'protocol-error'],
    auth: ['syncing', 'authenticate'],
    announce: ['syncing', 'protocol-error'],
    ack: ['syncing', 'acknowledged'],
    sync: ['syncing', 'protocol-error'],
    psync: ['syncing', 'protocol-error'],
    unknown: ['syncing', 'protocol-error'],
  },
};
for (const [kind, row] of Object.entries(OUTCOMES)) {
  for (const [command, expected] of Object.entries(row)) {
    test(`in the state ${kind} the command ${command} leads to ${expected.join(' with the effect ')}`, () => {
      const before: SessionState = { ...NEW_SESSION, kind: kind as SessionState['kind'] };
      const [state, effects] = sessionStep(before, COMMANDS[command as CommandKind].split(' '));
      assert.deepEqual([state.kind, ...effects.map((effect) => effect.kind)], expected);
    });
  }
}

/** What the outcome of AUTH does in each state: the state after it, and the effect. */
const AUTH_OUTCOMES: {
  readonly [S in SessionState['kind']]: {
    readonly [O in 'good' | 'bad']: readonly [SessionState['kind'], ...SessionEffect[]];
  };
} = {
  locked: { good: ['greeting', reply('+OK')], bad: ['locked', reply('-WRONGPASS no')] },
  greeting: { good: ['greeting', reply('+OK')], bad: ['greeting', reply('-WRONGPASS no')] },
  syncing: { good: ['syncing'], bad: ['syncing', { kind: 'unauthorized', refusal: '-WRONGPASS no' }] },
};
for (const [kind, { good, bad }] of Object.entries(AUTH_OUTCOMES)) {
  test(`AUTH in the state ${kind} leads to ${good[0]}, and a bad token to ${bad[0]}`, () => {
    const before: SessionState = { ...NEW_SESSION, kind: kind as SessionState['kind'] };
    for (const [refusal, expected] of [
      [null, good],
      ['-WRONGPASS no', bad],
    ] as const) {
      const [state, effects] = authStep(before, refusal);
      assert.deepEqual([state.kind, ...effects], expected);
    }
  });
}

test('AUTH takes the token, and a user name that nobody looks at', () => {
  const wrong = reply("-ERR wrong number of arguments for 'auth' command");
  for (const [line, effect] of [
    ['AUTH t', { kind: 'authenticate', token: 't' }],
    ['auth default t', { kind: 'authenticate', token: 't' }],
    ['AUTH', wrong],
    ['AUTH a b c', wrong],
  ] as const) {
    assert.deepEqual(sessionStep(LOCKED_SESSION, line.split(' ')), [LOCKED_SESSION, [effect]]);
  }
});

test('a refusal never repeats a token', () => {
  const { effects } = converse('PSYNC ? -1', 'AUTH a secret b');
  assert.equal(effects.at(-1)?.kind, 'protocol-error');
  assert.doesNotMatch(JSON.stringify(effects.at(-1)), /secret/);
});

test('a peer that has shown no token gets the same answer to every command but PING and AUTH', () => {
  for (const line of ['REPLCONF node-id n', 'PSYNC ? -1', 'SYNC', 'REPLCONF ACK 1', 'GET k', '']) {
    assert.deepEqual(sessionStep(LOCKED_SESSION, line.split(' ')), [
      LOCKED_SESSION,
      [reply('-NOAUTH Authentication required.')],
    ]);
  }
});

test('whatever a peer says, it gets one printable line at most before the sync, and none after it', () => {
  const word = fc.oneof(
    fc.constantFrom('PING', 'AUTH', 'REPLCONF', 'PSYNC', 'SYNC', 'ack', 'capa', '?', '-1', A),
    fc.string(),
  );
  fc.assert(
    fc.property(
      fc.array(fc.array(word, { minLength: 1, maxLength: 5 })),
      fc.boolean(),
      (commands, isOpen) => {
        let state = isOpen ? NEW_SESSION : LOCKED_SESSION;
        for (const words of commands) {
          const [next, [effect, ...others]] = sessionStep(state, words);
          assert.deepEqual(others, []);
          if (!isOpen) assert.equal(next.kind, 'locked');
          if (state.kind === 'syncing')
            assert.match(effect?.kind ?? '', /^(acknowledged|authenticate|protocol-error)$/);
          if (effect?.kind === 'reply') assert.match(effect.line, /^[+-][\x20-\x7e]*$/);
          state = next;
        }
      },
    ),
  );
});

function reply(line: string): SessionEffect {
  return { kind: 'reply', line };
}

function start(request: SyncRequest, failover = false): SessionEffect {
  return { kind: 'start-sync', request, failover };
}
