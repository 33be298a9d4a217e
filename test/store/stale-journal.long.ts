/**
 * psyncd.db and a WAL from different moments, while a thread moves the WAL into the file: what is taken for one state is
 * one; what a process leaves that ends at any moment is always taken.
 */
import assert from 'node:assert/strict';
import { copyFileSync, linkSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { offset } from '../../src/replication/position.ts';
import { OpenFiles } from '../../src/store/open-files.ts';
import { isWalStale } from '../../src/store/stale-wal.ts';
import { StateFile } from '../../src/store/state/state-file.ts';
import { MARK_SCHEMA } from '../../src/store/state/state-opening.ts';
import { runId } from '../support/arbitraries.ts';
import { temporaryFolder } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';
import { SILENT } from '../support/silent-log.ts';

const MOMENTS = 8;
const MIB = 1024 * 1024;
/** Most bytes between two moments: a WAL's, so that the later one may come in a new WAL or in the same. */
const MAX_APART_BYTES = 40 * MIB;
const MAX_ROW_BYTES = 512 * 1024;
const JOURNAL_BYTES = 8 * MIB;

const settings = { fsync: 'everysec', bootId: null, newRunId: () => runId('a'), upstream: null } as const;

interface Moment {
  readonly path: string;
  readonly contents: string;
}

function opened(path: string): StateFile {
  const state = StateFile.open(path, SILENT, settings, new OpenFiles(SILENT), () => undefined);
  state.begin();
  return state;
}

const CONTENTS = 'SELECT count(*), min(end_offset), max(end_offset), sum(checksum) FROM journal';

/** @returns what SQLite reads in them, or what it says */
function read(path: string): string {
  const db = new Database(path, { readonly: true });
  try {
    assert.equal(db.pragma('quick_check', { simple: true }), 'ok');
    return String(db.prepare(CONTENTS).raw().get());
  } catch (error) {
    return String(error);
  } finally {
    db.close();
  }
}

/** Lays a file and a WAL beside each other, without a copy: nothing writes to them. */
function pair(path: string, file: Moment, wal: Moment | null): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
  linkSync(file.path, path);
  if (wal !== null) linkSync(`${wal.path}-wal`, `${path}-wal`);
}

test('a journal and its WAL are accepted whenever the process ended; files of different moments only if they are one state', async (t) => {
  const folder = await temporaryFolder(t);
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (end: number): number => Math.floor(random() * end);
  const path = join(folder, 'psyncd.db');
  const states = new Set<string>();
  const moments: Moment[] = [];
  const begun = new Set<number>();
  let state = opened(path);
  const reader = (): string => {
    const db = new Database(path, { readonly: true });
    try {
      return String(db.prepare(CONTENTS).raw().get());
    } finally {
      db.close();
    }
  };
  let end = 0;
  const note = (): void => {
    states.add(reader());
  };
  while (moments.length < MOMENTS) {
    for (let apart = below(MAX_APART_BYTES); apart > 0; ) {
      const bytes = Buffer.alloc(1 + below(MAX_ROW_BYTES), `${random()}`);
      end += bytes.length;
      apart -= bytes.length;
      state.append(offset(end), bytes, null, false, null);
      note();
      if (end > JOURNAL_BYTES && below(4) === 0) {
        state.trim(offset(end - JOURNAL_BYTES), 1_000, Number.POSITIVE_INFINITY);
        note();
      }
      if (below(30) === 0) state.save({ handingOver: below(2) === 0 });
      if (!state.settling || below(2) === 0) await turn();
    }
    const copy = join(folder, `moment-${moments.length}.db`);
    for (const suffix of ['', '-wal']) copyFileSync(path + suffix, copy + suffix);
    moments.push({ path: copy, contents: reader() });
    begun.add(readFileSync(`${copy}-wal`).readUInt32BE(16));
    if (below(5) === 0) {
      state.close(true);
      state = opened(path);
    }
  }
  state.close(true);

  const both = join(folder, 'pair.db');
  const expectOwnPairs = (): void => {
    for (const moment of moments) {
      pair(both, moment, moment);
      assert.equal(isWalStale(both, MARK_SCHEMA), false);
      assert.equal(read(both), moment.contents);
    }
  };
  expectOwnPairs();
  // A file into which a part of its WAL was moved is no state by itself: whoever copies it copies both.
  const whole = moments.filter((moment) => {
    pair(both, moment, null);
    return states.has(read(both));
  });
  let refused = 0;
  for (const file of whole) {
    for (const wal of moments) {
      pair(both, file, wal);
      if (isWalStale(both, MARK_SCHEMA)) {
        refused += 1;
        assert.throws(() => opened(both), /belongs to another state of it/);
      } else assert.equal(read(both), wal.contents);
    }
  }
  // What was refused was not changed.
  expectOwnPairs();
  t.diagnostic(
    `${begun.size} WALs; ${whole.length} of ${MOMENTS} files are whole; ${refused} pairs were refused`,
  );
  assert.ok(refused > 0 && begun.size > 1);
});
