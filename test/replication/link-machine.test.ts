import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { LinkMachine } from '../../src/replication/link-machine.ts';
import type { AnsweredLineage, LinkEffect, NotServed } from '../../src/replication/link-phases.ts';
import { MAX_LINE_BYTES } from '../../src/replication/link-step.ts';
import { offset, type Position } from '../../src/replication/position.ts';
import { MAX_SNAPSHOT_BYTES, type PartialSnapshot } from '../../src/replication/snapshot-terms.ts';
import { anyCuts, cutAt, everySplit, runId } from '../support/arbitraries.ts';

const A = runId('a');
const B = runId('b');
/** The replica has 50 bytes of A. */
const AT_50: Position = { runId: A, offset: offset(50) };

/** What the machine says by itself when the master is content with PING and REPLCONF. */
const GREETED = '+PONG\r\n+OK\r\n';
const CAPABILITIES =
  'capa psync2 capa sqlite capa lineage capa snapshot-crc32 capa snapshot-resume capa announced-url capa public-url capa history-hash capa keyspace-3';
const ANNOUNCED = ['node-id', 'n1', ...CAPABILITIES.split(' ')];
const REPLCONF = send('REPLCONF', ...ANNOUNCED);
const ASKED_51 = [REPLCONF, send('PSYNC', A, '51')];
const ASKED_FIRST = [REPLCONF, send('PSYNC', '?', '-1')];

/** `error` stands for a protocol error, whatever its words. */
type Said = LinkEffect | 'error';
type Conversation = readonly [
  name: string,
  position: Position | null,
  received: string,
  effects: readonly Said[],
];

const CONVERSATIONS: readonly Conversation[] = [
  [
    'with 50 bytes it asks for byte 51, and goes on with the stream',
    AT_50,
    `${GREETED}+CONTINUE ${A}\r\n*1\r\n$8\r\nFLUSHALL\r\n`,
    [...ASKED_51, continuing(A), stream('*1\r\n$8\r\nFLUSHALL\r\n')],
  ],
  [
    'the history goes on under another run ID',
    AT_50,
    `${GREETED}+CONTINUE ${B.toUpperCase()}\r\n`,
    [...ASKED_51, continuing(B)],
  ],
  [
    '+CONTINUE without a run ID, as old masters say it, keeps the one it has',
    AT_50,
    `${GREETED}+CONTINUE\r\n\r\n`,
    [...ASKED_51, continuing(A), stream('\r\n')],
  ],
  [
    'a master that knows lineages tells how many bytes were lacking, and what its history grew out of',
    AT_50,
    `${GREETED}+CONTINUE ${B} 30 ${A}:80:promoted:1700000000000\r\n`,
    [
      ...ASKED_51,
      continuing(B, 30, [{ runId: A, validTo: offset(80), reason: 'promoted', at: 1_700_000_000_000 }]),
    ],
  ],
  [
    'a lineage with nothing in it is one, and words that are none are not passed on',
    AT_50,
    `${GREETED}+CONTINUE ${B} 0 -\r\n`,
    [...ASKED_51, continuing(B, 0, [])],
  ],
  [
    'a master that announces where clients reach it says so behind its lineage',
    AT_50,
    `${GREETED}+CONTINUE ${B} 0 - WSS://Node.example:443\r\n`,
    [...ASKED_51, continuing(B, 0, [], 'wss://node.example')],
  ],
  [
    'a master that keeps a history hash tells it behind that',
    AT_50,
    `${GREETED}+CONTINUE ${B} 0 - - 00000000000000ff\r\n`,
    [...ASKED_51, continuing(B, 0, [], null, 255n)],
  ],
  [
    'a master that does not know its history hash says so',
    AT_50,
    `${GREETED}+CONTINUE ${B} 0 - ws://node.example:7796 -\r\n`,
    [...ASKED_51, continuing(B, 0, [], 'ws://node.example:7796')],
  ],
  [
    'a history hash comes with a snapshot too',
    null,
    `${GREETED}+FULLRESYNC ${B} 120 first-sync - - ffffffffffffffff\r\n$0\r\n`,
    [...ASKED_FIRST, snapshot(B, 120, 'first-sync', 0, [], null, 2n ** 64n - 1n), snapshotEnd()],
  ],
  ...['FF00000000000000', '0x00000000000000', 'ff', '00000000000000000'].map(
    (word): readonly [string, Position | null, string, readonly Said[]] => [
      `${word} is no history hash`,
      AT_50,
      `${GREETED}+CONTINUE ${B} 0 - - ${word}\r\n`,
      [...ASKED_51, continuing(B, 0, [])],
    ],
  ),
  [
    'so it does with a snapshot',
    null,
    `${GREETED}+FULLRESYNC ${B} 120 first-sync - ws://node.example:7796\r\n$0\r\n`,
    [...ASKED_FIRST, snapshot(B, 120, 'first-sync', 0, [], 'ws://node.example:7796'), snapshotEnd()],
  ],
  ...[
    '-',
    'ws://0.0.0.0:7796',
    'ws://[::]:1',
    'ws://u:p@h:1',
    'ws://h:1/path',
    'ws://h:1,x',
    'ftp://h:1',
  ].map((word): readonly [string, Position | null, string, readonly Said[]] => [
    `${word} is no URL where clients could reach a master`,
    AT_50,
    `${GREETED}+CONTINUE ${B} 0 - ${word}\r\n`,
    [...ASKED_51, continuing(B, 0, [])],
  ]),
  [
    'what is said beyond the run ID and is not understood is not passed on',
    AT_50,
    `${GREETED}+CONTINUE ${B} x ${A}:80\r\n`,
    [...ASKED_51, continuing(B)],
  ],
  [
    'a snapshot may come with the lineage too; a reason in it that is not known counts as a changed master',
    AT_50,
    `${GREETED}+FULLRESYNC ${B} 120 past-shared-history ${A}:40:merged:7\r\n$0\r\n`,
    [
      ...ASKED_51,
      snapshot(B, 120, 'past-shared-history', 0, [
        { runId: A, validTo: offset(40), reason: 'master-changed', at: 7 },
      ]),
      snapshotEnd(),
    ],
  ],
  [
    'without a position it asks for a snapshot, takes exactly its bytes, and then the stream',
    null,
    `${GREETED}+FULLRESYNC ${B} 120 first-sync\r\n$12\r\n\n+CONTINUE\r\n*1\r\n`,
    [
      ...ASKED_FIRST,
      snapshot(B, 120, 'first-sync', 12),
      { kind: 'snapshot-bytes', bytes: Buffer.from('\n+CONTINUE\r\n') },
      snapshotEnd(),
      stream('*1\r\n'),
    ],
  ],
  [
    'with a position it may be given a snapshot all the same, and is told why',
    AT_50,
    `${GREETED}+FULLRESYNC ${B} 0 unknown-run-id\r\n$1\r\nx`,
    [
      ...ASKED_51,
      snapshot(B, 0, 'unknown-run-id', 1),
      { kind: 'snapshot-bytes', bytes: Buffer.from('x') },
      snapshotEnd(),
    ],
  ],
  [
    'a snapshot of no bytes ends as soon as it begins',
    null,
    `${GREETED}+FULLRESYNC ${A} 7\r\n$0\r\nabc`,
    [...ASKED_FIRST, snapshot(A, 7, null, 0), snapshotEnd(), stream('abc')],
  ],
  [
    'a master that knows checksums says so with the length, and tells it behind the bytes',
    null,
    `${GREETED}+FULLRESYNC ${A} 7 first-sync -\r\n$11 crc32\r\n$crc32 00\r\n$crc32 00c0ffee\r\n*1\r\n`,
    [
      ...ASKED_FIRST,
      snapshot(A, 7, 'first-sync', 11, []),
      { kind: 'snapshot-bytes', bytes: Buffer.from('$crc32 00\r\n') },
      snapshotEnd(0x00c0ffee),
      stream('*1\r\n'),
    ],
  ],
  [
    'no bytes have a checksum too',
    null,
    `${GREETED}+FULLRESYNC ${A} 7\r\n$0 crc32\r\n\r\n$crc32 00000000\r\nabc`,
    [...ASKED_FIRST, snapshot(A, 7, null, 0), snapshotEnd(0), stream('abc')],
  ],
  [
    'until the announced checksum has come the snapshot has not ended',
    null,
    `${GREETED}+FULLRESYNC ${A} 7\r\n$3 crc32\r\nabc$crc32 12345678`,
    [...ASKED_FIRST, snapshot(A, 7, null, 3), { kind: 'snapshot-bytes', bytes: Buffer.from('abc') }],
  ],
  ...[
    '*1',
    '$crc32',
    '$crc32 1234567',
    '$crc32 123456789',
    '$crc32 1234567G',
    '$crc32 1234ABCD',
    ' $crc32 12345678',
    '$crc32 12345678 ',
  ].map(
    (line): Conversation => [
      `${JSON.stringify(line)} where the checksum was announced`,
      null,
      `${GREETED}+FULLRESYNC ${A} 7\r\n$3 crc32\r\nabc${line}\r\n*1\r\n`,
      [
        ...ASKED_FIRST,
        snapshot(A, 7, null, 3),
        { kind: 'snapshot-bytes', bytes: Buffer.from('abc') },
        'error',
      ],
    ],
  ),
  [
    'a master that can send the rest alone later says so, and sends all bytes',
    null,
    `${GREETED}+FULLRESYNC ${A} 7\r\n$3 crc32 0\r\nabc$crc32 00c0ffee\r\n`,
    [
      ...ASKED_FIRST,
      snapshot(A, 7, null, 3, null, null, null, 0),
      { kind: 'snapshot-bytes', bytes: Buffer.from('abc') },
      snapshotEnd(0x00c0ffee),
    ],
  ],
  [
    'a snapshot that has not come completely has not ended',
    null,
    `${GREETED}+FULLRESYNC ${A} 7\r\n$4\r\nabc`,
    [...ASKED_FIRST, snapshot(A, 7, null, 4), { kind: 'snapshot-bytes', bytes: Buffer.from('abc') }],
  ],
  [
    'empty lines mean that the master is still there',
    AT_50,
    `\n\r\n+PONG\n\n+OK\r\n\n\n+FULLRESYNC ${A} 7\n\n\r\n$0\n`,
    [...ASKED_51, snapshot(A, 7, null, 0), snapshotEnd()],
  ],
  [
    'an error as the answer to REPLCONF is not critical',
    AT_50,
    `+PONG\r\n-ERR Unrecognized REPLCONF option: node-id\r\n+CONTINUE ${A}\r\n`,
    [...ASKED_51, continuing(A)],
  ],
  [
    '-NOMASTERLINK means later, and what follows is not read',
    AT_50,
    `${GREETED}-NOMASTERLINK Can't SYNC while not connected with my master\r\n+CONTINUE ${A}\r\n`,
    [...ASKED_51, notServed('no-master-link', "NOMASTERLINK Can't SYNC while not connected with my master")],
  ],
  ['-LOADING means later', AT_50, `${GREETED}-LOADING\r\n`, [...ASKED_51, notServed('not-now', 'LOADING')]],
  [
    '-ERR to PSYNC means that the master refuses',
    AT_50,
    `${GREETED}-ERR no\r\n`,
    [...ASKED_51, notServed('refused', 'ERR no')],
  ],
  [
    'an error of another name that begins like one of these means later',
    AT_50,
    `${GREETED}-ERRATIC\r\n`,
    [...ASKED_51, notServed('not-now', 'ERRATIC')],
  ],
  [
    'a master whose snapshots it does not understand says so',
    AT_50,
    `${GREETED}-SCHEMA the master has 4\r\n`,
    [...ASKED_51, notServed('other-schema', 'SCHEMA the master has 4')],
  ],
  [
    '-ERR to PING means that the master refuses, and nothing was asked',
    AT_50,
    '-ERR max clients\r\n',
    [notServed('refused', 'ERR max clients')],
  ],
  ['something else than +PONG', AT_50, 'HTTP/1.1 400 Bad Request\r\n\r\n', ['error']],
  ['+CONTINUE without having asked for it', null, `${GREETED}+CONTINUE ${A}\r\n`, [...ASKED_FIRST, 'error']],
  ...['+CONTINUE abc', '+CONTINUE ', `+CONTINUE ${A}0`, '+OK', `CONTINUE ${A}`, `+FULLRESYNCED ${A} 7`].map(
    malformed,
  ),
  ...[
    '',
    ` ${A}`,
    ` ${A.slice(1)} 7`,
    ` ${A} -1`,
    ` ${A} 7.5`,
    ` ${A} x`,
    ` ${A} 9007199254740992`,
    ' ? 7',
    `  ${A} 7`,
  ].map((tail) => malformed(`+FULLRESYNC${tail}`)),
  ...[
    '$',
    '$-1',
    '$x',
    '$1.5',
    '$ 5',
    '5',
    '$EOF:0123456789',
    '$5 ',
    '$5  crc32',
    '$5 crc64',
    '$5 crc32 x',
    '$5 crc32 -1',
    '$5 crc32 1',
    '$5 crc32 5',
    '$5 crc32 0 0',
    '$5 crc32 999999999999999',
    `$${MAX_SNAPSHOT_BYTES + 1}`,
    `+FULLRESYNC ${A} 7`,
  ].map(
    (length): Conversation => [
      `${JSON.stringify(length)} as the length of a snapshot`,
      null,
      `${GREETED}+FULLRESYNC ${A} 7\r\n${length}\r\nabc`,
      [...ASKED_FIRST, 'error'],
    ],
  ),
  [
    'a line of 8,192 bytes with its end is read',
    AT_50,
    `${GREETED}-${'x'.repeat(MAX_LINE_BYTES - 3)}\r\n`,
    [...ASKED_51, notServed('not-now', 'x'.repeat(MAX_LINE_BYTES - 3))],
  ],
  [
    'a line of one byte more',
    AT_50,
    `${GREETED}-${'x'.repeat(MAX_LINE_BYTES - 2)}\r\n`,
    [...ASKED_51, 'error'],
  ],
  ['8,193 bytes without any line end', AT_50, 'x'.repeat(MAX_LINE_BYTES + 1), ['error']],
];

function malformed(answer: string): Conversation {
  return [
    `${JSON.stringify(answer)} as the answer to PSYNC`,
    AT_50,
    `${GREETED}${answer}\r\nabc`,
    [...ASKED_51, 'error'],
  ];
}

for (const [name, position, received, expected] of CONVERSATIONS) {
  const outcome = expected.at(-1) === 'error' ? `${name} is a protocol error` : name;
  test(`${outcome}, however it is cut`, () => {
    for (const pieces of everySplit(Buffer.from(received)))
      assert.deepEqual(heard(position, pieces), expected);
  });
}

test('any conversation in any pieces has the same effects', () => {
  fc.assert(
    fc.property(fc.constantFrom(...CONVERSATIONS), anyCuts, ([, position, received, expected], cuts) => {
      assert.deepEqual(heard(position, cutAt(Buffer.from(received), cuts)), expected);
    }),
  );
});

test('it begins with PING', () => {
  assert.deepEqual(machine(null).start(), [send('PING')]);
});

test('a hand-over asks the other node to become the master', () => {
  const link = new LinkMachine({
    position: AT_50,
    hash: null,
    listeningUrl: null,
    nodeId: 'n1',
    keyspaceSchema: 3,
    failover: true,
  });
  assert.deepEqual(link.receive(Buffer.from(GREETED)).at(-1), send('PSYNC', A, '51', 'FAILOVER'));
});

test('it asks for a snapshot and says so if that is because its data differs', () => {
  const asked = {
    position: null,
    hash: null,
    listeningUrl: null,
    nodeId: 'n1',
    keyspaceSchema: 3,
    failover: false,
    different: true,
  };
  const effects = new LinkMachine(asked).receive(Buffer.from(GREETED));
  assert.deepEqual(effects.at(-1), send('PSYNC', '?different-data', '-1'));
});

test('it announces its history hash at the offset that it asks from, if it knows it', () => {
  assert.deepEqual(machine(AT_50, 255n).receive(Buffer.from('+PONG\r\n')), [
    send('REPLCONF', ...ANNOUNCED, 'capa', 'history-hash-00000000000000ff'),
  ]);
});

test('it says where it can be reached itself, when it knows', () => {
  const link = new LinkMachine({
    position: null,
    hash: null,
    listeningUrl: 'ws://me:1',
    nodeId: 'n1',
    keyspaceSchema: 3,
    failover: false,
  });
  assert.deepEqual(link.receive(Buffer.from('+PONG\r\n')), [
    send('REPLCONF', 'listening-url', 'ws://me:1', ...ANNOUNCED),
  ]);
});

const PART: PartialSnapshot = {
  position: { runId: A, offset: offset(7) },
  length: 5,
  bytes: 3,
  crc32: 0xc0ffee,
};
const PART_WORD = `${A}:7:5:3:00c0ffee`;

/** @returns what a node with `PART` sends, in one line each, and the other effects */
function withPart(received: string): readonly unknown[] {
  const link = machine(null, null, PART);
  const effects = [...link.start(), ...link.receive(Buffer.from(received))];
  return effects.map((effect) => (effect.kind === 'send' ? effect.words.join(' ') : effect));
}

for (const answer of ['+OK', '-ERR Unrecognized REPLCONF option: snapshot']) {
  test(`a part of a snapshot is announced before PSYNC, and ${answer} does not end the conversation`, () => {
    const said = withPart(`${GREETED}${answer}\r\n`);
    assert.deepEqual(said.slice(2), [`REPLCONF snapshot ${PART_WORD}`, 'PSYNC ? -1']);
  });
}

test('only the bytes come that the part lacks, and then the checksum of all', () => {
  const answer = `+OK\r\n+FULLRESYNC ${A} 7\r\n$5 crc32 3\r\nde$crc32 00000001\r\n`;
  assert.deepEqual(withPart(GREETED + answer).slice(4), [
    snapshot(A, 7, null, 5, null, null, null, 3),
    { kind: 'snapshot-bytes', bytes: Buffer.from('de') },
    snapshotEnd(1),
  ]);
});

test('a master that has lost the snapshot sends another one as a whole', () => {
  const answer = `+OK\r\n+FULLRESYNC ${B} 9\r\n$2 crc32 0\r\nxy$crc32 00000001\r\n`;
  assert.deepEqual(withPart(GREETED + answer).slice(4), [
    snapshot(B, 9, null, 2, null, null, null, 0),
    { kind: 'snapshot-bytes', bytes: Buffer.from('xy') },
    snapshotEnd(1),
  ]);
});

for (const [what, position, length] of [
  ['another run ID', `${B} 7`, '$5 crc32 3'],
  ['another offset', `${A} 8`, '$5 crc32 3'],
  ['another length', `${A} 7`, '$6 crc32 3'],
  ['more bytes than it has', `${A} 7`, '$5 crc32 4'],
  ['fewer bytes than it has', `${A} 7`, '$5 crc32 2'],
]) {
  test(`the rest of a snapshot of ${what} is a protocol error`, () => {
    const said = withPart(`${GREETED}+OK\r\n+FULLRESYNC ${position}\r\n${length}\r\n`);
    assert.equal((said.at(-1) as LinkEffect).kind, 'protocol-error');
  });
}

test('the largest snapshot that is taken has 2^44 bytes', () => {
  const effects = machine(null).receive(
    Buffer.from(`${GREETED}+FULLRESYNC ${A} 7\r\n$${MAX_SNAPSHOT_BYTES}\r\n`),
  );
  assert.deepEqual(effects.at(-1), snapshot(A, 7, null, 2 ** 44));
});

function machine(
  position: Position | null,
  hash: bigint | null = null,
  partial: PartialSnapshot | null = null,
): LinkMachine {
  return new LinkMachine({
    position,
    hash,
    listeningUrl: null,
    nodeId: 'n1',
    keyspaceSchema: 3,
    failover: false,
    partial,
  });
}

/** All effects of the pieces, with neighbouring bytes of the same kind joined. */
function heard(position: Position | null, pieces: readonly Buffer[]): Said[] {
  const link = machine(position);
  const said: Said[] = [];
  for (const effect of pieces.flatMap((piece) => link.receive(piece))) {
    const last = said.at(-1);
    if ('bytes' in effect && typeof last === 'object' && 'bytes' in last && last.kind === effect.kind) {
      said[said.length - 1] = { kind: effect.kind, bytes: Buffer.concat([last.bytes, effect.bytes]) };
    } else {
      said.push(effect.kind === 'protocol-error' ? 'error' : effect);
    }
  }
  return said;
}

function send(...words: readonly string[]): LinkEffect {
  return { kind: 'send', words };
}

function stream(bytes: string): LinkEffect {
  return { kind: 'stream', bytes: Buffer.from(bytes) };
}

function notServed(why: NotServed, detail: string): LinkEffect {
  return { kind: 'not-served', why, detail };
}

function continuing(
  id: typeof A,
  lacking: number | null = null,
  lineage: AnsweredLineage = null,
  announcedUrl: string | null = null,
  hash: bigint | null = null,
): LinkEffect {
  return { kind: 'continue', runId: id, lacking, lineage, announcedUrl, hash };
}

function snapshot(
  id: typeof A,
  at: number,
  reason: Extract<LinkEffect, { kind: 'snapshot' }>['reason'],
  length: number,
  lineage: AnsweredLineage = null,
  announcedUrl: string | null = null,
  hash: bigint | null = null,
  from: number | null = null,
): LinkEffect {
  return {
    kind: 'snapshot',
    position: { runId: id, offset: offset(at) },
    reason,
    lineage,
    announcedUrl,
    hash,
    length,
    from,
  };
}

function snapshotEnd(crc32: number | null = null): LinkEffect {
  return { kind: 'snapshot-end', crc32 };
}
