/** Anybody may set the wall clock, by hours and at any moment: what asks it is listed here, and why it does not ask the other one. */
import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));

const EXPIRY = 'an entry expires at a time of day';
const TOLD = 'people read it as a time of day';
/**
 * Every file that asks the wall clock: how often, and what for. A duration, an age, a rate or a limit in time is measured with
 * `World.monotonic()`, or outside of the node with `performance.now()`.
 */
const PLACES: Readonly<Record<string, readonly [places: number, why: string]>> = {
  'runtime/system-world.ts': [1, 'the World of the node'],
  'access/jwt/jwts.ts': [3, `${EXPIRY}: of a token`],
  'access/tokens/token-file.ts': [1, 'the age of a file'],
  'archive/archiver.ts': [
    10,
    `${TOLD}: when the stream had come how far, for a restore to a time, and whether a base is of a later time`,
  ],
  'archive/running/attempts.ts': [1, `${TOLD}: when an attempt failed`],
  'cli/commands/token.ts': [2, `${EXPIRY}: of a token`],
  'cli/options/node.ts': [1, 'a certificate expires at a time of day'],
  'client/mirror/alarm.ts': [2, EXPIRY],
  'client/collection/collection.ts': [2, EXPIRY],
  'client/optimistic/optimistic.ts': [1, EXPIRY],
  'http/api-routes.ts': [1, `${EXPIRY}: of a TTL`],
  'http/routes/node/token-routes.ts': [1, `${EXPIRY}: of a token`],
  'lost-data.ts': [1, `${TOLD}: the command that brings lost data back`],
  'metrics/snapshot.ts': [2, `${TOLD}: times in metrics`],
  'node/link/adoption.ts': [1, `${TOLD}: when a file was replaced`],
  'node/write/expiry-cycle.ts': [2, EXPIRY],
  'node/upkeep/exports.ts': [1, EXPIRY],
  'node/node.ts': [1, EXPIRY],
  'node/status.ts': [1, `${TOLD}: when the counters were reset`],
  'tls/listener-tls.ts': [6, 'a certificate expires at a time of day'],
  'tls/upstream-tls.ts': [2, 'a certificate expires at a time of day'],
  'web/problem-body.ts': [1, `${TOLD}: the header Date`],
  'node/role/run-ids.ts': [3, `${TOLD}: in the lineage`],
  'node/upkeep/scrubber.ts': [1, `${TOLD}: when it began`],
  'node/upkeep/backup-status.ts': [1, `${TOLD}: when a backup failed`],
  'node/upkeep/backups.ts': [9, `${TOLD}: times and ages of backups`],
  'node/upkeep/backup-clock.ts': [4, 'whether the clock is right; a jump is noticed'],
  'node/upkeep/backup-run.ts': [1, `${TOLD}: when the backup was made`],
  'node/upkeep/verifier.ts': [1, `${TOLD}: when it was compared`],
  'node/session/sessions.ts': [1, `${TOLD}: events of sessions, and when a replica came back`],
  'node/head/keyspace/keyspace-view.ts': [2, EXPIRY],
  'node/head/stream-head.ts': [4, `${TOLD}: when the stream had come how far`],
  'node/unattended.ts': [1, 'the same World for somebody else'],
  'node/write/write-turn.ts': [1, EXPIRY],
  'store/set-aside.ts': [1, 'the name of a folder'],
  'store/restore/restore.ts': [1, `${TOLD}: in the lineage, and the name of a folder; ${EXPIRY}`],
  'store/backup/offline/folder-copy.ts': [1, `${TOLD}: when the files of a folder were written`],
  'store/backup/offline/keyspace-copy.ts': [1, `${TOLD}: when the file was written`],
  'cli/tasks/leftovers.ts': [1, 'the age of a file'],
  'cli/tasks/download-snapshot.ts': [1, `${TOLD}: when the backup was made`],
  'cli/commands/backup.ts': [1, `${TOLD}: a time that is later cannot be right`],
  'cli/tasks/targets.ts': [2, `${TOLD}: how old backups are, and which times cannot be right`],
  'cli/tasks/restore-to.ts': [1, `${TOLD}: whether the wanted time is to come`],
  'cli/tasks/restore.ts': [1, `${TOLD}: in the lineage`],
};
/** `world.now()`, `Date.now()`, and a reference to one of them; but not `performance.now()`. */
const WALL_CLOCK = /(?<!\bperformance)\.now\b|\bnew Date\(\)/g;
const COMMENT = /\/\*.*?\*\/|^\s*\/\/.*?$/gms;

test('the wall clock is read only for expiry, and for times of day that people read', async () => {
  const found: Record<string, number> = {};
  for await (const file of glob('**/*.ts', { cwd: SRC })) {
    const text = (await readFile(`${SRC}${file}`, 'utf8')).replace(COMMENT, '');
    const places = text.match(WALL_CLOCK)?.length ?? 0;
    if (places > 0) found[file.replaceAll('\\', '/')] = places;
  }
  const expected = Object.fromEntries(Object.entries(PLACES).map(([file, [places]]) => [file, places]));
  assert.deepEqual(found, expected);
});
