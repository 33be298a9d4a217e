import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { formatCheck, formatFailover, formatInfo } from '../../src/cli/output/info.ts';
import { printableFields } from '../../src/cli/output/log.ts';
import { printable, printableJson, printableLines } from '../../src/cli/output/printable.ts';
import type { CheckAnswer, ReplicationAnswer } from '../../src/client/rest.ts';

const HARM = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const EVIL = '\u001b[2J\u0007\r\nrole master\u009b31m\u202e\u2028\ud800';

test('characters that could move the cursor or add a line are escaped, and words are not', () => {
  assert.equal(printable('grüße, 世界 "x" \\'), 'grüße, 世界 "x" \\');
  assert.equal(printable('\u001b[2J\n\u009b\u202e'), '\\u001b[2J\\n\\u{9b}\\u{202e}');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.doesNotMatch(printable(text), HARM);
      assert.equal(printable(printable(text)), printable(text));
    }),
  );
});

test('--json is JSON of the same value, also where a terminal would obey it', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.deepEqual(JSON.parse(printableJson(value)), JSON.parse(JSON.stringify(value)));
    }),
  );
  assert.doesNotMatch(printableJson([EVIL]), HARM);
  assert.equal(printableJson({ a: [1] }, 2), '{\n  "a": [\n    1\n  ]\n}');
});

test('what a node says of itself and of its peers is shown in as many lines as it has facts', () => {
  const answer = {
    role: EVIL,
    runId: EVIL,
    offset: 1,
    lineage: [{ runId: EVIL, validTo: 1, reason: EVIL }],
    backlog: { size: 1, firstOffset: 1, length: 1 },
    upstream: {
      url: EVIL,
      state: EVIL,
      detail: EVIL,
      lastSync: { kind: EVIL, reason: EVIL, bytes: 1, durationMs: 1 },
    },
    replicas: [{ id: EVIL, url: EVIL, peer: EVIL, state: EVIL, offset: 1, lagBytes: 0, lagSeconds: 0 }],
    failover: { state: EVIL, to: EVIL },
    writes: { state: EVIL, problem: EVIL, reason: EVIL },
    kept: [{ file: EVIL, position: EVIL, reason: EVIL, at: 1 }],
    backups: { running: true, waitsFor: EVIL, lastSuccessAt: 1, failing: { at: 1, code: EVIL } },
    counters: { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 },
    countersResetAt: null,
  } as unknown as ReplicationAnswer;
  const failover = { master: EVIL, position: EVIL, heldMs: 1, replicas: [EVIL] };
  const check = { decision: EVIL, reason: EVIL, bytes: 1, notNow: EVIL } as unknown as CheckAnswer;
  for (const [lines, count] of [
    [formatInfo(answer), 15],
    [formatFailover(failover), 2],
    [[formatCheck(check)], 1],
  ] as const) {
    const shown = printableLines(lines).split('\n');
    assert.equal(shown.length, count);
    for (const line of shown) assert.doesNotMatch(line, HARM);
  }
});

test('the log on a terminal shows control characters of peers as escapes', () => {
  const fields = printableFields({ detail: EVIL, bytes: 5, nested: { list: [EVIL, null] } });
  assert.doesNotMatch(JSON.stringify(fields), HARM);
  assert.deepEqual(printableFields({ url: 'ws://h:1', n: 5 }), { url: 'ws://h:1', n: 5 });
});
