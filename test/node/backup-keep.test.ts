/** Which backups are kept, and which names are those of backups. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type KeepRule, outdated } from '../../src/node/upkeep/backup-keep.ts';
import {
  type NamedBackup,
  namedBackup,
  scheduledName,
  singleName,
} from '../../src/node/upkeep/backup-names.ts';
import { type Offset, offset } from '../../src/replication/position.ts';
import { runId } from '../support/arbitraries.ts';
import { seeded } from '../support/random.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Midnight. */
const NOW = Date.UTC(2026, 10, 29);
const RULES: readonly KeepRule[] = [
  { ageMs: DAY, everyMs: HOUR },
  { ageMs: 30 * DAY, everyMs: DAY },
];

function backup(
  time: number,
  run = 'a',
  cluster: string | null = 'shop',
  at = Math.floor(time / 1_000),
): NamedBackup {
  const position = { runId: runId(run), offset: offset(at) };
  const named = namedBackup({ name: scheduledName(cluster, position, time), size: 4_096, modified: time });
  assert.ok(named !== null);
  return named;
}

/** A backup every ten minutes up to now. */
function everyTenMinutes(days: number): NamedBackup[] {
  return Array.from({ length: days * 144 }, (_, index) => backup(NOW - index * 10 * MINUTE));
}

/** @returns what stays */
function keptOf(backups: readonly NamedBackup[], rules = RULES, now = NOW): NamedBackup[] {
  const gone = new Set(outdated(backups, rules, now));
  return backups.filter((each) => !gone.has(each));
}

test('one backup an hour stays for a day, and one a day for thirty days', () => {
  const kept = keptOf(everyTenMinutes(60));
  const young = kept.filter(({ time }) => NOW - time < DAY);
  const old = kept.filter(({ time }) => NOW - time >= DAY);
  assert.equal(young.length, 25);
  assert.equal(old.length, 29);
  assert.ok(old.every(({ time }) => NOW - time < 30 * DAY && time % DAY === DAY - 10 * MINUTE));
});

test('it does not matter how often somebody decides', () => {
  const { random } = seeded();
  const all = everyTenMinutes(40).reverse();
  let present: NamedBackup[] = [];
  for (const each of all) {
    present.push(each);
    if (random() < 0.1) present = keptOf(present, RULES, each.time + 1);
  }
  assert.deepEqual(keptOf(present), keptOf(all));
});

test('the newest backup of each cluster stays, however old it is', () => {
  const old = [backup(NOW - 900 * DAY), backup(NOW - 901 * DAY), backup(NOW - 902 * DAY, 'b', 'other')];
  assert.deepEqual(keptOf(old), [old[0], old[2]]);
  assert.deepEqual(outdated([], RULES, NOW), []);
});

test('the backups of one history do not stand for those of another', () => {
  const both = [backup(NOW - 2 * HOUR, 'a'), backup(NOW - 2 * HOUR - 1_000, 'b')];
  assert.deepEqual(keptOf(both), both);
});

test('the largest offset of a history stays, also when a clock was ahead at a smaller one', () => {
  const [ahead, largest, before] = [
    backup(NOW - 32 * DAY, 'a', 'shop', 1_000),
    backup(NOW - 33 * DAY, 'a', 'shop', 3_000),
    backup(NOW - 34 * DAY, 'a', 'shop', 2_000),
  ];
  const next = backup(NOW - 40 * DAY, 'b');
  assert.deepEqual(keptOf([ahead, largest, before, next]), [ahead, largest, next]);
  assert.deepEqual(keptOf([ahead, { ...largest, size: 0 }, before]), [ahead, before]);
});

test('of the largest offsets only those of the last histories stay', () => {
  const all = [...'0123456789'].map((run, index) => backup(NOW - (40 + index) * DAY, run));
  assert.deepEqual(keptOf(all), all.slice(0, 8));
});

test('a backup of a later time stays', () => {
  const later = [backup(NOW + DAY), backup(NOW + DAY + 1_000), backup(NOW + DAY + 2_000)];
  assert.deepEqual(keptOf(later), later);
});

test('names say the cluster, the position and the time', () => {
  const position = { runId: runId('a'), offset: offset(128) };
  for (const [name, cluster] of [
    [scheduledName('shop', position, NOW), 'shop'],
    [scheduledName(null, position, NOW), 'psyncd'],
    [scheduledName('.shop', position, NOW), '_shop'],
    [singleName(position, NOW), null],
  ] as const) {
    assert.deepEqual(namedBackup({ name, size: 5, modified: 7 }), {
      name,
      size: 5,
      modified: 7,
      cluster,
      position,
      time: NOW,
    });
  }
  assert.equal(scheduledName('shop', position, NOW), `shop/${runId('a')}/128-20261129T000000Z.db`);
});

test('what psyncd did not name is no backup', () => {
  const run = runId('a');
  for (const name of [
    'notes.db',
    `${run}/128-20261129T000000Z.db.part`,
    `${run}/128-20261329T000000Z.db`,
    `${run}/128-20260230T000000Z.db`,
    `${run}/0128-20261129T000000Z.db`,
    `${run.toUpperCase()}/128-20261129T000000Z.db`,
    `${run}/${2 ** 53}-20261129T000000Z.db`,
    `a/b/${run}/128-20261129T000000Z.db`,
    `../${run}/128-20261129T000000Z.db`,
  ]) {
    assert.equal(namedBackup({ name, size: 0, modified: 0 }), null, name);
  }
  const most = singleName({ runId: run, offset: Number.MAX_SAFE_INTEGER as Offset }, NOW);
  assert.notEqual(namedBackup({ name: most, size: 0, modified: 0 }), null);
});
