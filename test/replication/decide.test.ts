import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { Window } from '../../src/replication/backlog.ts';
import {
  type Decision,
  decide,
  FULL_RESYNC_REASONS,
  type Place,
  type SyncRequest,
  showsRollback,
  UNKNOWN_PLACE,
} from '../../src/replication/decide.ts';
import type { History } from '../../src/replication/history.ts';
import { offset, type RunId } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const OWN = runId('a');
const PARENT = runId('b');
const GRANDPARENT = runId('c');
const STRANGER = runId('d');

/** A master: its run ID is OWN; bytes 1 to `end` were written, the last `length` are held. */
interface Master {
  readonly end: number;
  readonly length: number;
  /** [run ID, valid to], newest first. */
  readonly ancestors?: readonly (readonly [RunId, number])[];
}

/** At offset 100, bytes 71 to 100 held. */
const AT_100: Master = { end: 100, length: 30 };
/** The same, grown out of PARENT (shared to 80) and that out of GRANDPARENT (shared to 50). */
const GROWN: Master = {
  ...AT_100,
  ancestors: [
    [PARENT, 80],
    [GRANDPARENT, 50],
  ],
};
const EMPTY_AT_100: Master = { end: 100, length: 0, ancestors: [[PARENT, 100]] };
const FRESH: Master = { end: 0, length: 0 };
const WHOLE: Master = { end: 30, length: 30 };
/** Recovered to byte 60 under a new run ID, though the old one had been given out up to 60. */
const RENAMED_AT_60: Master = { end: 60, length: 60, ancestors: [[PARENT, 60]] };

type Row = readonly [master: Master, id: RunId, asked: number, expected: number | string];

/** A number: so many bytes to continue with. A word: why there must be a full resync. */
const TABLE: readonly Row[] = [
  [AT_100, OWN, 71, 30],
  [AT_100, OWN, 72, 29],
  [AT_100, OWN, 70, 'behind-backlog'],
  [AT_100, OWN, 100, 1],
  [AT_100, OWN, 101, 0],
  [AT_100, OWN, 102, 'ahead-of-master'],
  [AT_100, OWN, Number.MAX_SAFE_INTEGER, 'ahead-of-master'],
  [AT_100, OWN, 1, 'behind-backlog'],
  [AT_100, OWN, 0, 'behind-backlog'],
  [AT_100, OWN, -1, 'behind-backlog'],
  [AT_100, OWN, -Number.MAX_SAFE_INTEGER, 'behind-backlog'],
  [AT_100, STRANGER, 101, 'unknown-run-id'],
  [AT_100, STRANGER, 71, 'unknown-run-id'],
  [AT_100, STRANGER, 1, 'unknown-run-id'],
  [AT_100, STRANGER, 102, 'unknown-run-id'],
  [AT_100, PARENT, 71, 'unknown-run-id'],
  [GROWN, OWN, 101, 0],
  [GROWN, PARENT, 71, 30],
  [GROWN, PARENT, 80, 21],
  [GROWN, PARENT, 81, 20],
  [GROWN, PARENT, 82, 'past-shared-history'],
  [GROWN, PARENT, 102, 'past-shared-history'],
  [GROWN, PARENT, 70, 'behind-backlog'],
  [GROWN, PARENT, 0, 'behind-backlog'],
  [GROWN, GRANDPARENT, 51, 'behind-backlog'],
  [GROWN, GRANDPARENT, 52, 'past-shared-history'],
  [GROWN, STRANGER, 81, 'unknown-run-id'],
  [EMPTY_AT_100, OWN, 101, 0],
  [EMPTY_AT_100, OWN, 100, 'behind-backlog'],
  [EMPTY_AT_100, OWN, 102, 'ahead-of-master'],
  [EMPTY_AT_100, PARENT, 101, 0],
  [EMPTY_AT_100, PARENT, 100, 'behind-backlog'],
  [EMPTY_AT_100, PARENT, 102, 'past-shared-history'],
  [RENAMED_AT_60, PARENT, 61, 0],
  [RENAMED_AT_60, PARENT, 62, 'past-shared-history'],
  [RENAMED_AT_60, PARENT, 1, 60],
  [FRESH, OWN, 1, 0],
  [FRESH, OWN, 0, 'behind-backlog'],
  [FRESH, OWN, -1, 'behind-backlog'],
  [FRESH, OWN, 2, 'ahead-of-master'],
  [WHOLE, OWN, 1, 30],
  [WHOLE, OWN, 0, 'behind-backlog'],
  [WHOLE, OWN, 31, 0],
  [WHOLE, OWN, 32, 'ahead-of-master'],
];

const NAMES = new Map([
  [OWN, "the master's own history"],
  [PARENT, 'PARENT'],
  [GRANDPARENT, 'GRANDPARENT'],
  [STRANGER, 'a history that it never had'],
]);

for (const [master, id, asked, expected] of TABLE) {
  const outcome = typeof expected === 'number' ? `continue with ${expected} bytes` : expected;
  test(`${described(master)}, asked for byte ${asked} of ${NAMES.get(id)}: ${outcome}`, () => {
    assert.deepEqual(
      decide(
        { kind: 'psync', runId: id, asked, hash: null },
        historyOf(master),
        windowOf(master),
        UNKNOWN_PLACE,
      ),
      typeof expected === 'number' ? goOn(asked - 1, expected) : fullResync(expected),
    );
  });
}

for (const master of [AT_100, GROWN, EMPTY_AT_100, FRESH]) {
  test(`${described(master)}, asked without a position: first-sync; by SYNC: forced`, () => {
    const ask = (request: SyncRequest): Decision =>
      decide(request, historyOf(master), windowOf(master), UNKNOWN_PLACE);
    assert.deepEqual(ask({ kind: 'psync-first' }), fullResync('first-sync'));
    assert.deepEqual(ask({ kind: 'psync-different' }), fullResync('different-data'));
    assert.deepEqual(ask({ kind: 'sync' }), fullResync('forced'));
  });
}

const at = (hash: bigint | null): Place => ({ kind: 'command-end', hash });
const INSIDE: Place = { kind: 'inside-command' };

/** [run ID, asked, the replica's hash, what the master knows of the place, what it answers, whether it was rolled back] */
const PROOFS: readonly (readonly [RunId, number, bigint | null, Place, number | string, boolean])[] = [
  [OWN, 81, 7n, at(7n), 20, false],
  [OWN, 81, 7n, at(8n), 'different-bytes', true],
  [OWN, 101, 7n, at(8n), 'different-bytes', true],
  [OWN, 81, 0n, at(8n), 'different-bytes', true],
  [OWN, 81, null, at(8n), 20, false],
  [OWN, 81, 7n, at(null), 20, false],
  [OWN, 81, 7n, UNKNOWN_PLACE, 20, false],
  [OWN, 81, null, INSIDE, 'different-bytes', false],
  [OWN, 81, 7n, INSIDE, 'different-bytes', true],
  [OWN, 102, 7n, UNKNOWN_PLACE, 'ahead-of-master', true],
  [OWN, 102, null, UNKNOWN_PLACE, 'ahead-of-master', true],
  [OWN, 70, 7n, UNKNOWN_PLACE, 'behind-backlog', false],
  [PARENT, 81, 7n, at(7n), 20, false],
  [PARENT, 81, 7n, at(8n), 'different-bytes', false],
  [PARENT, 81, null, INSIDE, 'different-bytes', false],
  // The hash is stronger evidence than the bound of the lineage …
  [PARENT, 82, 7n, at(7n), 19, false],
  [PARENT, 101, 7n, at(7n), 0, false],
  // … but without it the bound stands.
  [PARENT, 82, 7n, at(8n), 'past-shared-history', false],
  [PARENT, 82, null, at(8n), 'past-shared-history', false],
  [PARENT, 82, 7n, at(null), 'past-shared-history', false],
  [PARENT, 82, 7n, INSIDE, 'past-shared-history', false],
  [STRANGER, 81, 7n, at(7n), 'unknown-run-id', false],
];

for (const [id, asked, hash, place, expected, rolledBack] of PROOFS) {
  const known = place.kind === 'command-end' ? `a command ends there, with hash ${place.hash}` : place.kind;
  const outcome = typeof expected === 'number' ? `continue with ${expected} bytes` : expected;
  const shows = rolledBack ? '; its master was rolled back' : '';
  test(`asked for byte ${asked} of ${NAMES.get(id)} with hash ${hash}, where ${known}: ${outcome}${shows}`, () => {
    const request = { kind: 'psync', runId: id, asked, hash } as const;
    const decision = decide(request, historyOf(GROWN), windowOf(GROWN), place);
    assert.deepEqual(
      decision,
      typeof expected === 'number' ? goOn(asked - 1, expected) : fullResync(expected),
    );
    assert.equal(showsRollback(request, historyOf(GROWN), decision), rolledBack);
  });
}

test('every reason that is given is in the closed list', () => {
  const given = TABLE.map(([, , , expected]) => expected).filter((expected) => typeof expected === 'string');
  const others = ['first-sync', 'forced', 'different-bytes', 'different-data'];
  assert.deepEqual(new Set([...given, ...others]), new Set<string>(FULL_RESYNC_REASONS));
});

/** The same by counting out the bytes: those that the replica has, that both share, and that are still held. */
function model(master: Master, id: RunId, asked: number): Decision {
  const has = count(1, asked - 1);
  const sharedTo =
    id === OWN ? Number.POSITIVE_INFINITY : master.ancestors?.find(([each]) => each === id)?.[1];
  if (sharedTo === undefined) return fullResync('unknown-run-id');
  if (has.some((byte) => byte > sharedTo)) return fullResync('past-shared-history');
  if (has.some((byte) => byte > master.end)) return fullResync('ahead-of-master');
  const held = new Set(count(master.end - master.length + 1, master.end));
  const lacks = count(asked, master.end);
  if (asked < 1 || !lacks.every((byte) => held.has(byte))) return fullResync('behind-backlog');
  return goOn(has.length, lacks.length);
}

test('the decision is what counting the bytes out gives', () => {
  const anyMaster: fc.Arbitrary<Master> = fc
    .record({ end: fc.nat(20), length: fc.nat(20), bounds: fc.array(fc.nat(20), { maxLength: 2 }) })
    .map(({ end, length, bounds }) => ({
      end,
      length: Math.min(length, end),
      ancestors: bounds.map(
        (bound, index) => [index === 0 ? PARENT : GRANDPARENT, Math.min(bound, end)] as const,
      ),
    }));
  const anyId = fc.constantFrom(OWN, OWN, PARENT, GRANDPARENT, STRANGER);
  fc.assert(
    fc.property(anyMaster, anyId, fc.integer({ min: -2, max: 23 }), (master, id, asked) => {
      const decision = decide(
        { kind: 'psync', runId: id, asked, hash: null },
        historyOf(master),
        windowOf(master),
        UNKNOWN_PLACE,
      );
      assert.deepEqual(decision, model(master, id, asked));
    }),
    { numRuns: 1_000 },
  );
});

function count(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}

function goOn(after: number, bytes: number): Decision {
  return { kind: 'continue', after: offset(after), bytes };
}

function fullResync(reason: string): Decision {
  return { kind: 'full-resync', reason } as Decision;
}

function windowOf({ end, length }: Master): Window {
  return { firstOffset: end - length + 1, length };
}

function historyOf({ ancestors = [] }: Master): History {
  const lineage = ancestors.map(([id, validTo]) => {
    return { runId: id, validTo: offset(validTo), reason: 'promoted' as const, at: 0 };
  });
  return { runId: OWN, lineage };
}

function described({ end, length, ancestors = [] }: Master): string {
  const held = length === 0 ? 'nothing held' : `bytes ${end - length + 1} to ${end} held`;
  const shared = ancestors.map(([id, validTo]) => `, ${NAMES.get(id)} valid to ${validTo}`);
  return `at offset ${end}, ${held}${shared.join('')}`;
}
