/**
 * A drill: shows that a backup can be restored, while clients write. It needs the right `replicate` and disturbs nobody.
 *
 *   node restore-drill.mjs
 *
 * It starts a replica of the node PSYNCD_NODE in a temporary folder and stops it when it has caught up. Then it backs that folder
 * up, verifies the backup, restores it, starts a node with the restored folder, and compares the digests of all of them. PSYNCD is
 * the command, such as `npx psyncd`; PSYNCD_UPSTREAM_TOKEN_FILE names a file with the token for the replica.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const node = process.env.PSYNCD_NODE ?? 'http://127.0.0.1:7796';
const [command, ...words] = (process.env.PSYNCD ?? 'psyncd').split(' ');
/** Most time that the replica may take to catch up, in milliseconds. */
const CATCH_UP_MS = 600_000;

/** Runs a command of psyncd to its end. @returns what it prints as JSON */
function psyncd(...args) {
  const { error, status, stderr, stdout } = spawnSync(command, [...words, ...args, '--json'], {
    encoding: 'utf8',
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`psyncd ${args.join(' ')}: ${stderr || stdout}`);
  return JSON.parse(stdout);
}

/** Starts a node on a free port. @returns its URL, and what stops it */
async function start(...flags) {
  const child = spawn(command, [...words, 'serve', '--port', '0', ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
  };
  let text = '';
  const ready = new Promise((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (part) => {
      text += part;
      const [, url] = /^psyncd listening on (\S+)/m.exec(text) ?? [];
      if (url !== undefined) resolve(url);
    });
  });
  const ended = exited.then(() => {
    throw new Error('the node has ended');
  });
  ended.catch(() => undefined);
  return { url: await Promise.race([ready, ended]), stop };
}

async function json(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${await response.text()}`);
  return response.json();
}

const work = mkdtempSync(join(tmpdir(), 'psyncd-drill-'));
try {
  const folder = join(work, 'replica');
  const replica = await start('--data', folder, '--replica-of', node.replace(/^http/, 'ws'));
  try {
    const until = performance.now() + CATCH_UP_MS;
    while ((await json(`${replica.url}/v1/replication`)).upstream.state !== 'streaming') {
      if (performance.now() > until) throw new Error('the replica has not caught up in time');
      await pause(100);
    }
  } finally {
    await replica.stop();
  }
  const expected = psyncd('verify', folder);
  console.log(
    `replica   ${expected.runId}:${expected.offset}  ${expected.keys} entries, digest ${expected.digest}`,
  );

  const file = join(work, 'backup.db');
  psyncd('backup', file, '--data', folder);
  const backup = psyncd('verify', file);
  console.log(`backup    ${backup.runId}:${backup.offset}  ${backup.keys} entries, digest ${backup.digest}`);

  const restoredFolder = join(work, 'restored');
  psyncd('restore', file, restoredFolder);
  const restored = await start('--data', restoredFolder);
  const found = await json(`${restored.url}/v1/digest`).finally(restored.stop);
  console.log(`restored  ${found.position}  ${found.keys} entries, digest ${found.digest}`);

  const isSame = `${backup.runId}:${backup.offset}` === `${expected.runId}:${expected.offset}`;
  const digests = new Set([expected.digest, backup.digest, found.digest]);
  if (!isSame || digests.size !== 1) throw new Error('the drill has failed: the digests differ');
  console.log('the drill has passed: all digests are equal');
} finally {
  rmSync(work, { recursive: true, force: true });
}
