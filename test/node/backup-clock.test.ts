/** When backups make the clock of somebody doubtful who has not seen it run. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { doubtfulSince } from '../../src/node/upkeep/backup-clock.ts';
import type { NamedBackup } from '../../src/node/upkeep/backup-names.ts';
import { offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2026, 10, 29);
const RULES = [
  { ageMs: DAY, everyMs: HOUR },
  { ageMs: 30 * DAY, everyMs: DAY },
];

/** @param aheadHours by how much the name is later than when the target got it */
function backup(ageHours: number, aheadHours = 0): NamedBackup {
  const modified = NOW - ageHours * HOUR;
  const position = { runId: runId('a'), offset: offset(1) };
  const time = modified + aheadHours * HOUR;
  return { name: `${ageHours}`, cluster: 'shop', position, time, size: 8_192, modified };
}

function since(backups: readonly NamedBackup[], rules = RULES): number | null {
  return doubtfulSince({ backups, maxGapMs: 2 * DAY, rules }, NOW);
}

const everyDay = Array.from({ length: 30 }, (_, index) => backup(index * 24));

test('backups that follow each other up to now make no clock doubtful', () => {
  assert.equal(since(everyDay), null);
  assert.equal(since([backup(47)]), null);
  // The interval of the rules is two weeks.
  assert.equal(since([backup(1), backup(13 * 24)], [{ ageMs: 365 * DAY, everyMs: 14 * DAY }]), null);
});

test('a clock is doubtful if the backups end long before it, or began again less than a day ago', () => {
  const year = 365 * 24;
  const before = everyDay.map(({ name }) => backup(year + Number(name)));
  assert.equal(since([]), NOW);
  assert.equal(since(before), NOW);
  assert.equal(since([backup(0.2), ...before]), NOW - 0.2 * HOUR);
  assert.equal(since([backup(0.2), backup(20), ...before]), NOW - 20 * HOUR);
  assert.equal(since([backup(0.2), backup(20), backup(25), ...before]), null);
});

test('a clock is doubtful if the target got the backups at other times than their names say', () => {
  const year = 365 * 24;
  assert.equal(since([backup(0, year * 2)].map((each) => ({ ...each, time: NOW }))), null);
  assert.equal(since([backup(year, year - 1), backup(year + 1, year - 1)]), NOW);
  assert.equal(
    since([backup(0.2, -year), backup(0.3, -year)].map((each) => ({ ...each, modified: NOW }))),
    NOW,
  );
});
