/** Whether a keyspace file and psyncd.db belong together. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { checkStanding } from '../../src/node/head/keyspace/keyspace-standing.ts';
import { FilesDamaged } from '../../src/node/ports/failures.ts';
import { type History, MAX_ANCESTORS, newHistory, renamed } from '../../src/replication/history.ts';
import { offset, type Position, type RunId } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const [A, B, C] = [runId('a'), runId('b'), runId('c')];

function at(id: RunId, end: number): Position {
  return { runId: id, offset: offset(end) };
}

function promoted(history: History, id: RunId): History {
  return renamed(history, { runId: id, validTo: offset(10), reason: 'promoted', at: 0 });
}

function check(history: History, opened: Position, told: number | null = null): void {
  const toldHash = told === null ? null : { offset: offset(told), hash: null };
  checkStanding({ history, toldHash, journalEnd: null }, opened);
}

test('a keyspace file has the run ID of the node, or of one that its history grew out of', () => {
  check(newHistory(A), at(A, 10));
  const twice = promoted(promoted(newHistory(A), B), C);
  // A power cut has left the file further than the journal, and then the history was renamed.
  for (const id of [A, B, C]) check(twice, at(id, 20));
  assert.throws(() => check(newHistory(A), at(B, 10)), FilesDamaged);
  assert.throws(() => check(promoted(newHistory(A), B), at(C, 10)), /is of another history/);
});

test('a lineage that may have forgotten the run ID of the file does not keep the node from starting', () => {
  let history = newHistory(A);
  for (let count = 0; count <= MAX_ANCESTORS; count += 1)
    history = promoted(history, count.toString(16).padStart(40, '0') as RunId);
  check(history, at(A, 10));
});

test('with an empty journal, a keyspace file is not before the snapshot that the node has adopted', () => {
  check(newHistory(A), at(A, 10), 10);
  check(newHistory(A), at(A, 12), 10);
  assert.throws(() => check(newHistory(A), at(A, 9), 10), FilesDamaged);
});
