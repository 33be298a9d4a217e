/** The phases of the link: what each input does in each of them, as one table. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type {
  BytesPhase,
  In,
  LinePhase,
  LinkEffect,
  LinkRequest,
} from '../../src/replication/link-phases.ts';
import { bytesStep, type LineKind, lineStep, whyNotServed } from '../../src/replication/link-step.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const A = runId('a');
const REQUEST: LinkRequest = {
  position: { runId: A, offset: offset(50) },
  hash: null,
  listeningUrl: null,
  nodeId: 'n1',
  keyspaceSchema: 3,
  failover: false,
};

const LINE_PHASES: { readonly [K in LinePhase]: In<K> } = {
  ping: { kind: 'ping' },
  replconf: { kind: 'replconf' },
  partial: { kind: 'partial' },
  psync: { kind: 'psync' },
  length: {
    kind: 'length',
    position: { runId: A, offset: offset(7) },
    reason: null,
    lineage: null,
    announcedUrl: null,
    hash: null,
  },
  checksum: { kind: 'checksum' },
};

/** One line of each kind, as a master could send it; null: it is too long. */
const LINES: { readonly [L in LineKind]: string | null } = {
  empty: '',
  status: '+OK',
  continue: `+CONTINUE ${A}`,
  'full-resync': `+FULLRESYNC ${A} 7`,
  error: '-ERR no',
  length: '$3 crc32',
  checksum: '$crc32 00c0ffee',
  other: 'HTTP/1.1 400 Bad Request',
  'too-long': null,
};

/** The phase after the line, and the kind of the effect if there is one. */
type Outcome = readonly [phase: LinePhase | BytesPhase | 'over', ...effects: readonly LinkEffect['kind'][]];
const BROKEN: Outcome = ['over', 'protocol-error'];

const ON_LINE: { readonly [K in LinePhase]: { readonly [L in LineKind]: Outcome } } = {
  ping: {
    empty: ['ping'],
    status: ['replconf', 'send'],
    continue: ['replconf', 'send'],
    'full-resync': ['replconf', 'send'],
    error: ['over', 'not-served'],
    length: BROKEN,
    checksum: BROKEN,
    other: BROKEN,
    'too-long': BROKEN,
  },
  replconf: {
    empty: ['replconf'],
    status: ['psync', 'send'],
    continue: ['psync', 'send'],
    'full-resync': ['psync', 'send'],
    error: ['psync', 'send'],
    length: BROKEN,
    checksum: BROKEN,
    other: BROKEN,
    'too-long': BROKEN,
  },
  partial: {
    empty: ['partial'],
    status: ['psync', 'send'],
    continue: ['psync', 'send'],
    'full-resync': ['psync', 'send'],
    error: ['psync', 'send'],
    length: BROKEN,
    checksum: BROKEN,
    other: BROKEN,
    'too-long': BROKEN,
  },
  psync: {
    empty: ['psync'],
    status: BROKEN,
    continue: ['stream', 'continue'],
    'full-resync': ['length'],
    error: ['over', 'not-served'],
    length: BROKEN,
    checksum: BROKEN,
    other: BROKEN,
    'too-long': BROKEN,
  },
  length: {
    empty: ['length'],
    status: BROKEN,
    continue: BROKEN,
    'full-resync': BROKEN,
    error: BROKEN,
    length: ['snapshot', 'snapshot'],
    checksum: BROKEN,
    other: BROKEN,
    'too-long': BROKEN,
  },
  checksum: {
    empty: ['checksum'],
    status: BROKEN,
    continue: BROKEN,
    'full-resync': BROKEN,
    error: BROKEN,
    length: BROKEN,
    checksum: ['stream', 'snapshot-end'],
    other: BROKEN,
    'too-long': BROKEN,
  },
};

for (const [phase, row] of Object.entries(ON_LINE)) {
  for (const [kind, expected] of Object.entries(row)) {
    test(`in the phase ${phase} a line of the kind ${kind} leads to ${expected.join(' with the effect ')}`, () => {
      const before = LINE_PHASES[phase as LinePhase];
      const [after, effects] = lineStep(before, LINES[kind as LineKind], REQUEST);
      assert.deepEqual([after.kind, ...effects.map((effect) => effect.kind)], expected);
      if (kind === 'empty') assert.deepEqual(after, before);
    });
  }
}

const BYTES = Buffer.from('abc');
const ON_BYTES: { readonly [K in BytesPhase]: readonly (readonly [In<K>, Outcome])[] } = {
  snapshot: [
    [{ kind: 'snapshot', left: 4, checksummed: false }, ['snapshot', 'snapshot-bytes']],
    [{ kind: 'snapshot', left: 3, checksummed: true }, ['checksum', 'snapshot-bytes']],
    [{ kind: 'snapshot', left: 3, checksummed: false }, ['stream', 'snapshot-bytes', 'snapshot-end']],
  ],
  stream: [[{ kind: 'stream' }, ['stream', 'stream']]],
};

for (const [before, expected] of [...ON_BYTES.snapshot, ...ON_BYTES.stream]) {
  test(`three bytes in ${JSON.stringify(before)} lead to ${expected.join(' with the effect ')}`, () => {
    const [after, effects] = bytesStep(before, BYTES);
    assert.deepEqual([after.kind, ...effects.map((effect) => effect.kind)], expected);
    assert.deepEqual(effects[0], { kind: expected[1], bytes: BYTES });
  });
}

test('a snapshot whose bytes have not all come lacks as many as have not come', () => {
  const [after] = bytesStep({ kind: 'snapshot', left: 10, checksummed: true }, BYTES);
  assert.deepEqual(after, { kind: 'snapshot', left: 7, checksummed: true });
});

for (const [detail, why] of [
  ['ERR', 'refused'],
  ['ERR no', 'refused'],
  ['SCHEMA the master has 4', 'other-schema'],
  ["NOMASTERLINK Can't SYNC while not connected with my master", 'no-master-link'],
  ['NOAUTH Authentication required.', 'unauthorized'],
  ['WRONGPASS no', 'unauthorized'],
  ['NOPERM no', 'unauthorized'],
  ['LOADING', 'not-now'],
  ['ERRATIC', 'not-now'],
  ['err no', 'not-now'],
  [' ERR', 'not-now'],
  ['', 'not-now'],
] as const) {
  test(`the error ${JSON.stringify(detail)} counts as ${why}`, () => {
    assert.equal(whyNotServed(detail), why);
  });
}
