/** What the log says of an error has its cause: only clients are told that the log says more. */
import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { failureOf, joined } from '../../src/node/link/link-context.ts';
import { inLogOf, messageOf, NotInJournal, UNTOLD } from '../../src/node/ports/failures.ts';
import { causeInLog, diskProblem, Problem, storageProblem } from '../../src/node/problem.ts';
import { storageFailure } from '../../src/store/storage-failure.ts';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
/** Folders whose log lines may be about a failure of the disk. */
const FOLDERS = ['archive', 'node', 'store'];
/** A line of the log, up to its end. */
const LOGGED = /\b#?log\.(?:debug|info|warn|error)\((?:[^;]|;(?!\n))*/g;
/** Texts of errors that may lack the cause. */
const FOR_CLIENTS =
  /\b(?:messageOf|toldOf|String)\((?:error|failure)\)|\b(?:error|failure)\.(?:message|told)\b/;
/** `fdatasync` gives its own error; what nobody expects is logged with its stack. */
const FITTING = new Set(['store/state/journal-syncer.ts', 'node/unattended.ts']);

const ODD = new Error('/data/keyspace-1.db has not 45056 bytes');
const FAILURE = storageFailure(ODD);

test('no line of the log has the text of an error that is for clients', async () => {
  let seen = 0;
  for (const folder of FOLDERS) {
    for await (const file of glob('**/*.ts', { cwd: join(SRC, folder) })) {
      const path = `${folder}/${file.replaceAll('\\', '/')}`;
      if (FITTING.has(path)) continue;
      for (const [line] of (await readFile(join(SRC, path), 'utf8')).matchAll(LOGGED)) {
        seen += line.includes('inLogOf') ? 1 : 0;
        assert.doesNotMatch(line, FOR_CLIENTS, `${path}: use inLogOf`);
      }
    }
  }
  assert.ok(seen > 15, `the search has found ${seen} lines only`);
});

test('an error of psyncd that becomes a failure of the disk has its cause in the log', () => {
  assert.equal(messageOf(FAILURE), UNTOLD);
  for (const error of [FAILURE, storageProblem(FAILURE), diskProblem(FAILURE)]) {
    assert.match(inLogOf(error), /has not 45056 bytes/);
  }
  assert.equal(inLogOf(ODD), ODD.message);
  assert.equal(inLogOf('odd'), 'odd');
  assert.equal(inLogOf(new NotInJournal('byte 1 is not there')), 'NotInJournal: byte 1 is not there');
});

test('a detail that points to the log has its cause there, and others need none', () => {
  for (const problem of [storageProblem(FAILURE), diskProblem(FAILURE)]) {
    assert.match(causeInLog(problem) ?? '', /has not 45056 bytes/);
  }
  const full = storageFailure(Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' }));
  for (const problem of [storageProblem(full), new Problem('LOADING', 'later')]) {
    assert.equal(causeInLog(problem), null);
  }
});

test('a link whose files fail tells clients no file, and the log all of it', () => {
  const end = joined([{ detail: 'closed with 1006' }, failureOf('snapshot', FAILURE), null]);
  assert.equal(end.detail, `closed with 1006; snapshot: ${UNTOLD}`);
  assert.equal(end.inLog, `closed with 1006; snapshot: UNKNOWN: ${ODD.message}`);
});
