/** The drill in examples: a backup that is made while clients write can be restored. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { createToken } from '../../src/access/tokens/tokens.ts';
import { Cluster, temporaryFolder, writeMany } from '../support/cluster.ts';
import { MAIN } from '../support/main-file.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DRILL = fileURLToPath(new URL('../../examples/restore-drill.mjs', import.meta.url));

interface Ended {
  readonly code: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the drill, without a command of psyncd unless the variables name one. @param temporary its folder for temporary files */
function drill(
  temporary: string,
  { PSYNCD, ...variables }: Readonly<Record<string, string>>,
): Promise<Ended> {
  const { PSYNCD: _, PSYNCD_UPSTREAM_TOKEN_FILE: __, ...others } = process.env;
  const env = { ...others, ...variables, ...(PSYNCD === undefined ? {} : { PSYNCD }), TMPDIR: temporary };
  return new Promise((resolve) => {
    execFile(process.execPath, [DRILL], { cwd: ROOT, env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code, stdout, stderr });
    });
  });
}

test('the drill restores what a replica had when it was stopped under writers', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  await writeMany(master, 'k', 200);
  await master.client.set('large', 'x'.repeat(100_000), { ttl: 3600 });
  let isOver = false;
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let index = 0; !isOver; index += 1) {
      await master.client.set(`w${writer}/${index % 100}`, `${index}`, index % 3 === 0 ? { ttl: 3600 } : {});
      if (index % 10 === 0) await master.client.delete(`w${writer}/${(index * 7) % 100}`);
    }
  });
  const { stdout, stderr } = await drill(await temporaryFolder(t), {
    PSYNCD_NODE: master.url,
    PSYNCD: `${process.execPath} ${MAIN}`,
  }).finally(() => {
    isOver = true;
  });
  const output = stdout + stderr;
  await Promise.all(writers);
  const digests = [...output.matchAll(/digest ([0-9a-f]{32})/g)].map((match) => match[1]);
  assert.equal(digests.length, 3, output);
  assert.equal(new Set(digests).size, 1, output);
  assert.match(output, /the drill has passed/);
});

test('in a checkout the drill finds psyncd by itself, and leaves nothing behind', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const temporary = await temporaryFolder(t);
  const { stdout, stderr } = await drill(temporary, { PSYNCD_NODE: master.url });
  assert.match(stdout, /the drill has passed/, stderr);
  assert.deepEqual(left(temporary), []);
});

test('the drill stops nodes that npm has started for it', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const temporary = await temporaryFolder(t);
  const ended = await drill(temporary, { PSYNCD_NODE: master.url, PSYNCD: 'npm run -s psyncd --' });
  assert.match(ended.stdout, /the drill has passed/, ended.stderr);
  assert.deepEqual(left(temporary), []);
  const { replicas } = await master.client.replication();
  assert.deepEqual(replicas, []);
});

test('the drill says in one line what it lacks, and leaves nothing behind', async (t) => {
  const cluster = await Cluster.create(t);
  const tokens = join(cluster.data('master'), 'tokens.json');
  mkdirSync(cluster.data('master'));
  const wanted = { name: 'replica', rights: ['replicate' as const], prefixes: null, expiresAt: null };
  const { text: token } = await createToken(tokens, wanted, Date.now());
  const master = await cluster.start('master');
  const temporary = await temporaryFolder(t);

  const tokenless = await drill(temporary, { PSYNCD_NODE: master.url });
  assert.equal(tokenless.code, 1);
  assert.match(tokenless.stderr, /^restore-drill: .* wants a token: PSYNCD_UPSTREAM_TOKEN_FILE .*\n$/);
  const commandless = await drill(temporary, { PSYNCD_NODE: master.url, PSYNCD: join(temporary, 'psyncd') });
  assert.equal(commandless.code, 1);
  assert.match(commandless.stderr, /^restore-drill: .* ENOENT; set PSYNCD .*\n$/);

  const file = join(cluster.data('master'), 'replica.token');
  writeFileSync(file, token);
  const ended = await drill(temporary, { PSYNCD_NODE: master.url, PSYNCD_UPSTREAM_TOKEN_FILE: file });
  assert.match(ended.stdout, /the drill has passed/, ended.stderr);
  assert.deepEqual(left(temporary), []);
});

/** The folders of drills, without what npm and Node.js keep for later. */
function left(temporary: string): readonly string[] {
  return readdirSync(temporary).filter((name) => name.startsWith('psyncd-drill-'));
}
