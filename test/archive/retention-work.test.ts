/** How much a deletion has to look at, with as many run IDs as an archive may have: others get their turn meanwhile. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Covered } from '../../src/archive/covered.ts';
import type { Holding } from '../../src/archive/retention/holdings.ts';
import { Needs } from '../../src/archive/retention/needs.ts';
import { type Ancestor, type History, MAX_ANCESTORS } from '../../src/replication/history.ts';
import { offset, type RunId } from '../../src/replication/position.ts';

const RUNS = 150;
/** Reads of ancestors in one turn, for each ancestor of the history that is looked at. */
const MOST_READS = 4 * MAX_ANCESTORS;

function idOf(index: number): RunId {
  return index.toString(16).padStart(40, '0') as RunId;
}

/** @param read called for each ancestor that is looked at */
function historyOf(index: number, read: () => void): History {
  const lineage = Array.from({ length: Math.min(index, MAX_ANCESTORS) }, (_, back): Ancestor => {
    const ancestor = index - 1 - back;
    return {
      get runId() {
        read();
        return idOf(ancestor);
      },
      validTo: offset((ancestor + 1) * 100),
      reason: 'unclean-stop',
      at: ancestor * 1_000,
    };
  });
  return { runId: idOf(index), lineage };
}

function holdingOf(index: number): Holding {
  const [runId, at] = [idOf(index), index * 1_000];
  const after = offset(index * 100);
  const end = offset(index * 100 + 110);
  const covered: Holding['covered'] = new Covered();
  const segment = { kind: 'segment', name: `s${index}`, cluster: 'shop', runId, after, end } as const;
  covered.add({ after: segment.after, end: segment.end, last: { ...segment, modified: at } });
  const base = { kind: 'base', name: `b${index}`, cluster: 'shop', runId, offset: after, at } as const;
  return {
    runId,
    bases: [{ ...base, modified: at, size: 8_192 }],
    covered,
    newest: [],
    earliest: at,
    latest: at + 500,
    lateFrom: Number.POSITIVE_INFINITY,
  };
}

test('no turn of a deletion looks at the ancestors of all run IDs for each of them', async () => {
  let [reads, most, turns] = [0, 0, 0];
  const histories = Array.from({ length: RUNS }, (_, index) => historyOf(index, () => (reads += 1)));
  const holdings = new Map(histories.map(({ runId }, index) => [runId, holdingOf(index)]));
  const lastBytes = { servesFrom: () => Promise.resolve(0), isSure: () => Promise.resolve(true) };
  const turn = (): Promise<void> => {
    most = Math.max(most, reads);
    [reads, turns] = [0, turns + 1];
    return Promise.resolve();
  };
  await Needs.of(histories, holdings, 0, idOf(RUNS - 1), lastBytes, turn);
  assert.ok(turns >= RUNS);
  // The first turn looks at each ancestor once more.
  assert.ok(most <= (MOST_READS + RUNS) * MAX_ANCESTORS, `${most} reads in a turn`);
});
