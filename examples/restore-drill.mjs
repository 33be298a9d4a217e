/**
 * A drill: shows that a backup can be restored, while clients write. It needs the right `replicate` and disturbs nobody.
 *
 *   node restore-drill.mjs
 *
 * It starts a replica of the node PSYNCD_NODE in a temporary folder and stops it when it has caught up. Then it backs that folder
 * up, verifies the backup, restores it, starts a node with the restored folder, and compares the digests of all of them. PSYNCD is
 * the command, such as `npx psyncd`; without it, the drill takes the psyncd of the checkout that it is in, else that of
 * node_modules here, else the one in PATH. PSYNCD_UPSTREAM_TOKEN_FILE names a file with the token for the replica, if the node
 * needs one. The replica and the restored node let nobody in but the drill: it makes a token for them, which ends with it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const node = process.env.PSYNCD_NODE ?? 'http://127.0.0.1:7796';
const [command, ...words] = commandLine();
/** Most time that the replica may take to catch up, in milliseconds. */
const CATCH_UP_MS = 600_000;
/** Most time that the replica may be without a link to the node, in milliseconds. */
const NO_LINK_MS = 30_000;
/** Most time that a node may take to stop, in milliseconds. */
const STOP_MS = 30_000;
/** States in which the replica is in touch with the node. */
const LINKED = new Set(['handshake', 'snapshot', 'streaming']);
/** Nodes that run: what a signal has to stop. */
const running = new Set();
let isInterrupted = false;

/** @returns the command of psyncd, and its first arguments */
function commandLine() {
  const given = process.env.PSYNCD?.trim();
  if (given) return given.split(/\s+/);
  const checkout = fileURLToPath(new URL('..', import.meta.url));
  const main = join(checkout, 'src', 'main.ts');
  if (existsSync(main)) {
    // The Node.js that the checkout has may be newer than the one that runs this.
    const own = join(checkout, 'node_modules', '.bin', 'node');
    return [existsSync(own) ? own : process.execPath, main];
  }
  const installed = join('node_modules', '.bin', 'psyncd');
  return [existsSync(installed) ? installed : 'psyncd'];
}

/** Says why the command cannot be started. */
function notStarted({ message }) {
  return new Error(`${message}; set PSYNCD to the command of psyncd, such as PSYNCD="npx psyncd"`);
}

/** Runs a command of psyncd to its end. @returns what it prints as JSON */
function psyncd(...args) {
  const { error, status, stderr, stdout } = spawnSync(command, [...words, ...args, '--json'], {
    encoding: 'utf8',
  });
  if (error) throw notStarted(error);
  if (status !== 0) throw new Error(`psyncd ${args.join(' ')}: ${stderr || stdout}`);
  return JSON.parse(stdout);
}

/** Starts a node on a free port. @returns its URL, and what stops it */
async function start(...flags) {
  // The command may be npm or npx, which start the node: they are one group, and a signal to the group reaches all.
  const child = spawn(command, [...words, 'serve', '--port', '0', '--tokens-file', tokens, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  // Not `exit`: the node may run a little longer than npm. Its output is closed when all of the group have ended.
  const ended = new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
  const signal = (name) => {
    try {
      process.kill(-child.pid, name);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  };
  const stop = async () => {
    signal('SIGTERM');
    const kill = setTimeout(signal, STOP_MS, 'SIGKILL');
    await ended.finally(() => {
      clearTimeout(kill);
      running.delete(stop);
    });
  };
  if (child.pid !== undefined) running.add(stop);
  let [text, log] = ['', ''];
  child.stderr.setEncoding('utf8').on('data', (part) => {
    log = (log + part).slice(-4_096);
  });
  const ready = new Promise((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (part) => {
      text = (text + part).slice(-4_096);
      const [, url] = /^psyncd listening on (\S+)/m.exec(text) ?? [];
      if (url !== undefined) resolve(url);
    });
  });
  const failed = ended.then(
    () => {
      running.delete(stop);
      throw new Error(`the node has ended: ${log.trim().split('\n').at(-1)}`);
    },
    (error) => {
      throw notStarted(error);
    },
  );
  failed.catch(() => undefined);
  return { url: await Promise.race([ready, failed]), stop };
}

/** Waits until a replica has all that the node had. */
async function caughtUp(replica) {
  const until = performance.now() + CATCH_UP_MS;
  let linkedAt = performance.now();
  for (;;) {
    const { state, detail } = (await json(`${replica.url}/v1/replication`)).upstream;
    if (state === 'streaming') return;
    if (state === 'unauthorized') {
      throw new Error(
        `${node} wants a token: PSYNCD_UPSTREAM_TOKEN_FILE must name a file with one that has the right replicate`,
      );
    }
    const now = performance.now();
    if (LINKED.has(state)) linkedAt = now;
    const why = `the link is ${state}${detail === undefined ? '' : `, ${detail}`}`;
    if (state === 'tls' || now - linkedAt > NO_LINK_MS) throw new Error(`no link to ${node}: ${why}`);
    if (now > until) throw new Error(`the replica has not caught up in ${CATCH_UP_MS / 1000} s: ${why}`);
    await pause(100);
  }
}

async function json(url) {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`${url}: ${await response.text()}`);
  return response.json();
}

/** The token of the drill. */
let token = '';
const work = mkdtempSync(join(tmpdir(), 'psyncd-drill-'));
const tokens = join(work, 'tokens.json');
const remove = () => rmSync(work, { recursive: true, force: true });
for (const name of ['SIGINT', 'SIGTERM']) {
  process.once(name, async () => {
    isInterrupted = true;
    await Promise.allSettled([...running].map((stop) => stop()));
    remove();
    process.exit(130);
  });
}
try {
  // Others on this machine reach loopback addresses too.
  token = psyncd('token', 'create', 'drill', '--rights', 'admin', '--tokens', tokens).token;
  const folder = join(work, 'replica');
  const replica = await start('--data', folder, '--replica-of', node.replace(/^http/, 'ws'));
  try {
    await caughtUp(replica);
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
} catch (error) {
  const [reason] = error.message.trim().split('\n');
  console.error(`restore-drill: ${isInterrupted ? 'interrupted' : reason}`);
  process.exitCode = 1;
} finally {
  remove();
}
