/** The commands that talk to a node, as a user types them. */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import type { ChildNode } from '../src/cli/child-node.ts';
import { Cluster, converged, linkState, temporaryFolder } from './support/cluster.ts';
import { MAIN } from './support/main-file.ts';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function psyncd(node: ChildNode, args: readonly string[], input = ''): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...args],
      { env: { ...process.env, PSYNCD_NODE: node.url } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}

test('set, get and del', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  assert.match((await psyncd(node, ['set', 'a key/ü', 'value'])).stdout, /^created, at [0-9a-f]{40}:\d+\n$/);
  assert.match((await psyncd(node, ['set', 'a key/ü', '-'], 'from a pipe')).stdout, /^replaced, at /);
  assert.deepEqual(await psyncd(node, ['get', 'a key/ü']), { code: 0, stdout: 'from a pipe', stderr: '' });
  assert.deepEqual(await psyncd(node, ['del', 'a key/ü']), { code: 0, stdout: 'deleted\n', stderr: '' });
  const missing = { code: 3, stdout: '', stderr: 'psyncd: there is no key "a key/ü"\n' };
  assert.deepEqual(await psyncd(node, ['get', 'a key/ü']), missing);
  assert.deepEqual(await psyncd(node, ['del', 'a key/ü']), missing);
});

test('the keys . and .. are a usage error, because no URL of fetch can name them; others with dots are sent', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  for (const args of [
    ['set', '.', 'v'],
    ['set', '..', 'v'],
    ['get', '.'],
    ['del', '..'],
  ]) {
    const stderr = `psyncd: the key "${args[1]}" cannot be sent in a URL\n`;
    assert.deepEqual(await psyncd(node, args), { code: 2, stdout: '', stderr });
  }
  for (const key of ['...', './.', 'a/../b', '%2e', '../x']) {
    assert.equal((await psyncd(node, ['set', key, key])).code, 0, key);
    assert.equal((await psyncd(node, ['get', key])).stdout, key);
  }
});

test('set reads no more from standard input than a value may have', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const child = spawn(process.execPath, [MAIN, 'set', 'k', '-'], {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: { ...process.env, PSYNCD_NODE: node.url },
  });
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdin.on('error', () => undefined);
  // The input never ends.
  child.stdin.write(Buffer.alloc(16 * 1024 * 1024 + 1, 'v'));
  const [code] = await once(child, 'close');
  assert.deepEqual({ code, stderr }, { code: 1, stderr: 'psyncd: the value has more than 16777216 bytes\n' });
  assert.equal(await node.client.get('k'), null);
});

test('import from a file and from a pipe, also by way of a replica', async (t) => {
  const cluster = await Cluster.create(t);
  const master = await cluster.start('master');
  const replica = await cluster.start('replica', '--replica-of', master.wsUrl);
  await linkState(replica, 'streaming');
  const lines = Array.from({ length: 2_000 }, (_, index) => `{"key":"k${index}","value":"${index}"}\n`).join(
    '',
  );
  const file = join(await temporaryFolder(t), 'lines.ndjson');
  await writeFile(file, lines);
  assert.match((await psyncd(replica, ['import', file])).stdout, /^2,000 entries imported, at /);
  const { imported } = JSON.parse((await psyncd(master, ['import', '-', '--json'], lines)).stdout);
  assert.equal(imported, 2_000);
  assert.equal((await converged(master, replica)).keys, 2_000);
  const bad = await psyncd(master, ['import', '-'], `${lines}nonsense\n`);
  assert.equal(bad.code, 1);
  assert.match(
    bad.stderr,
    /^psyncd: line 2001: it is not JSON: a value was expected, not "n" \(at byte 0\); 2000 entries before it are in \(BAD_LINE\)\n$/,
  );
  assert.match(
    (await psyncd(master, ['import', '/no/such/file'])).stderr,
    /^psyncd: cannot read \/no\/such\/file/,
  );
});

test('replicaof, its alias slaveof, and info on both sides', async (t) => {
  const cluster = await Cluster.create(t);
  const [master, node] = [await cluster.start('master'), await cluster.start('node')];
  assert.match((await psyncd(node, ['replicaof', master.wsUrl])).stdout, /^replica of ws:/);
  await linkState(node, 'streaming');
  const replicaInfo = (await psyncd(node, ['info'])).stdout;
  assert.match(replicaInfo, /^role +replica$/m);
  assert.match(replicaInfo, /^link +streaming$/m);
  assert.match(replicaInfo, /^last sync +full, first-sync/m);
  assert.match((await psyncd(master, ['info'])).stdout, /^replicas +1\n {2}#1 ws:.* online /m);
  assert.equal(JSON.parse((await psyncd(master, ['info', '--json'])).stdout).role, 'master');
  assert.match((await psyncd(node, ['slaveof', 'no-one'])).stdout, /^master at /);
  const refused = await psyncd(node, ['replicaof', 'http://x']);
  assert.deepEqual({ code: refused.code, stdout: refused.stdout }, { code: 2, stdout: '' });
  assert.match(
    refused.stderr,
    /^psyncd: expected ws:\/\/HOST:PORT or wss:\/\/HOST:PORT, or no-one to be a master, got "http:\/\/x"\n$/,
  );
});

test('a node that is not there: one line, exit code 1', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.stop();
  for (const args of [['info'], ['get', 'k'], ['set', 'k', 'v'], ['del', 'k'], ['replicaof', 'no-one']]) {
    const { code, stdout, stderr } = await psyncd(node, args);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
    assert.match(stderr, /^psyncd: cannot reach the node: .*ECONNREFUSED.*--node names another\n$/);
  }
});

test('a command ends quietly when nobody reads on', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v'.repeat(1024 * 1024));
  for (const args of [['serve', '--help'], ['info'], ['get', 'k'], ['export', '-']]) {
    const child = spawn(process.execPath, [MAIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PSYNCD_NODE: node.url },
    });
    t.after(() => child.kill('SIGKILL'));
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const [code] = await once(child, 'close');
    // What a shell says of a program that SIGPIPE has ended.
    assert.deepEqual({ code, stderr }, { code: 141, stderr: '' }, args.join(' '));
  }
});

test('what a node and its peers say cannot act on the terminal: answers and errors are escaped', async (t) => {
  const evil = '\u001b[2J\u009b31m\nrole  master';
  const said = JSON.stringify({
    title: evil,
    status: 503,
    code: evil,
    detail: evil,
    position: evil,
    role: 'master',
    upstream: null,
  });
  const server = createServer((request, response) => {
    const fails = request.method === 'GET';
    response.statusCode = fails ? 503 : 200;
    response.setHeader('content-type', fails ? 'application/problem+json' : 'application/json');
    response.setHeader('psync-position', `${'a'.repeat(40)}:1`);
    response.end(said);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const node = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } as ChildNode;
  for (const args of [
    ['info'],
    ['check', `${'a'.repeat(40)}:1`],
    ['get', 'k'],
    ['replicaof', 'no-one'],
    ['set', 'k', 'v'],
  ]) {
    const { stdout, stderr } = await psyncd(node, args);
    const shown = stdout + stderr;
    assert.match(shown, /\\u001b\[2J\\u\{9b\}31m\\nrole/, args[0]);
    assert.match(shown, /^\P{Cc}*\n$/u, args[0]);
  }
});

test('check with --hash says whether a replica with other bytes may continue, and refuses what is no hash', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const { position, historyHash } = await node.client.replication();
  assert.ok(historyHash !== null);
  const other = historyHash.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  for (const [hash, decision, reason] of [
    [historyHash, 'continue', null],
    [other, 'full-resync', 'different-bytes'],
  ] as const) {
    const { stdout } = await psyncd(node, ['check', position, '--hash', hash, '--json']);
    const answer = JSON.parse(stdout) as { decision: string; reason: string | null };
    assert.deepEqual([answer.decision, answer.reason], [decision, reason]);
  }
  const { stderr } = await psyncd(node, ['check', position, '--hash', 'abc']);
  assert.match(stderr, /--hash: expected 16 hex digits/);
});

test('export writes into a FIFO, replaces what a link leads to, refuses a folder, and makes private files', async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  await node.client.set('k', 'v');
  const folder = await temporaryFolder(t);
  const at = (name: string): string => join(folder, name);
  const isExport = (text: string): void => assert.match(text, /^\{"key":"k","value":"v",.*\}\n$/);

  execFileSync('mkfifo', [at('fifo')]);
  await symlink('fifo', at('to-fifo'));
  for (const name of ['fifo', 'to-fifo']) {
    const reader = spawn('cat', [at('fifo')], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => reader.kill('SIGKILL'));
    const read = reader.stdout.setEncoding('utf8').toArray();
    const { code, stderr } = await psyncd(node, ['export', at(name)]);
    assert.equal(code, 0, stderr);
    isExport((await read).join(''));
    assert.ok((await lstat(at('fifo'))).isFIFO());
  }

  await mkdir(at('folder'));
  await writeFile(at('folder/old'), 'old');
  await symlink('folder/old', at('to-old'));
  await symlink('to-old', at('to-link'));
  await symlink('folder/new', at('to-new'));
  for (const [name, target] of [
    ['to-link', 'folder/old'],
    ['to-new', 'folder/new'],
    ['plain', 'plain'],
  ] as const) {
    const { code, stderr } = await psyncd(node, ['export', at(name)]);
    assert.equal(code, 0, stderr);
    isExport(await readFile(at(target), 'utf8'));
    const stats = await lstat(at(target));
    assert.ok(stats.isFile());
    assert.equal(stats.mode & 0o777, 0o600, target);
  }
  assert.equal(await readlink(at('to-old')), 'folder/old');
  assert.equal(await readlink(at('to-link')), 'to-old');
  assert.equal(await readlink(at('to-new')), 'folder/new');

  await symlink('circle', at('circle'));
  for (const [name, reason] of [
    ['folder', 'it is a folder'],
    ['circle', 'more than 40 links lead on from it'],
  ] as const) {
    const refused = await psyncd(node, ['export', at(name)]);
    assert.deepEqual(refused, {
      code: 1,
      stdout: '',
      stderr: `psyncd: cannot write ${at(name)}: ${reason}\n`,
    });
  }
  assert.deepEqual((await readdir(at('folder'))).sort(), ['new', 'old']);
});
