/** examples/python: its own tests, and its copy of real nodes over cuts, restarts and resets. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createToken } from '../../src/access/tokens/tokens.ts';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, samePosition, temporaryFolder } from '../support/cluster.ts';
import { PYTHON, WITHOUT_PYTHON } from '../support/python.ts';

const FOLDER = fileURLToPath(new URL('../../examples/python', import.meta.url));
const ALL_RIGHTS = { rights: ['admin'], prefixes: null, expiresAt: null } as const;
/** What a copy holds, as JSON; `copy.db` is the first argument. */
const DUMP = `
import json, sys
from psyncd import StoredCopy
copy = StoredCopy(sys.argv[1], ["user:"])
print(json.dumps({"position": copy.position, "entries": {key: list(value) for key, value in copy.items()}}))`;

const run = promisify(execFile);

function python(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return run(PYTHON, ['-B', ...args], { cwd: FOLDER, env: { ...process.env, ...env } });
}

/** `python3 -m psyncd` for the prefix `user:`. */
class Program {
  readonly child: ChildProcess;
  #output = '';

  constructor(t: TestContext, file: string, urls: readonly string[], token?: string) {
    const nodes = urls.flatMap((url) => ['--node', url]);
    this.child = spawn(PYTHON, ['-B', '-m', 'psyncd', file, '--prefix', 'user:', ...nodes], {
      cwd: FOLDER,
      env: { ...process.env, ...(token === undefined ? {} : { PSYNCD_TOKEN: token }) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
    t.after(() => this.child.kill('SIGKILL'));
  }

  get lines(): string[] {
    return this.#output.split('\n').slice(0, -1);
  }

  shows(text: string): Promise<unknown> {
    return until(`the copy shows ${text}`, () => this.lines.some((line) => line.startsWith(text)));
  }

  /** Values of the counter, in the order in which they came. */
  get counted(): number[] {
    return this.lines.flatMap((line) => /^entry user:counter (\d+)$/.exec(line)?.[1] ?? []).map(Number);
  }

  /** How often the copy was replaced as a whole. */
  get snapshots(): number {
    return this.lines.filter((line) => line.startsWith('synced')).length;
  }

  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill(signal);
    const [code] = await exited;
    if (signal === 'SIGINT') assert.equal(code, 0);
  }
}

async function count(node: ChildNode, from: number, to: number): Promise<void> {
  for (let value = from; value < to; value += 1) await node.client.set('user:counter', String(value));
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

async function dump(file: string): Promise<{ position: string; entries: Record<string, number[]> }> {
  return JSON.parse((await python(['-c', DUMP, file])).stdout);
}

test('the Python client keeps the rules of the protocol with nodes that break them', {
  skip: WITHOUT_PYTHON,
}, async () => {
  for (const name of ['test_copy', 'test_follower']) await python(['-m', 'unittest', `tests.${name}`]);
});

test('the Python client reads, writes, goes through pages, and shows its token to no stranger', {
  skip: WITHOUT_PYTHON,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const folder = await temporaryFolder(t);
  const [list, shown] = [join(folder, 'tokens.json'), join(folder, 'token')];
  const { text: token } = await createToken(list, { name: 'all', ...ALL_RIGHTS }, Date.now());
  await writeFile(shown, token);
  const master = await cluster.start('master', '--tokens-file', list);
  const upstream = ['--replica-of', master.wsUrl, '--upstream-token-file', shown];
  const replica = await cluster.start('replica', '--tokens-file', list, ...upstream);
  await python(['-m', 'unittest', 'tests.test_requests'], {
    PSYNCD_NODE: master.url,
    PSYNCD_REPLICA: replica.url,
    PSYNCD_TOKEN: token,
  });
});

test('the requests in README.md do what they show', { skip: WITHOUT_PYTHON }, async (t) => {
  const node = await (await Cluster.create(t)).start('node');
  const text = await readFile(join(FOLDER, 'README.md'), 'utf8');
  const [, requests = ''] = [...text.matchAll(/^```python\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
  assert.match(requests, /Client\(/);
  const { stdout } = await python(['-c', requests.replaceAll('http://127.0.0.1:7796', node.url)]);
  assert.equal(stdout, "user:2 b'\\xff' 147\n");
});

test('a copy in Python loses nothing and has nothing twice after cuts, kills and restarts, and shows what the node has', {
  skip: WITHOUT_PYTHON,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const node = await cluster.start('node');
  const proxy = await cluster.proxy(node);
  const file = join(await temporaryFolder(t), 'copy.db');
  const url = proxy.wsUrl.replace('ws', 'http');
  await node.client.set('user:old', 'ü');
  await node.client.set('other', 'x');
  const first = new Program(t, file, [url]);
  await first.shows('synced');
  await count(node, 0, 20);
  await first.shows('entry user:counter 9');
  proxy.cut();
  await count(node, 20, 40);
  proxy.restore();
  await first.shows('entry user:counter 39');
  assert.deepEqual(first.counted, numbers(0, 40));
  assert.equal(first.snapshots, 1);
  await first.stop('SIGKILL');

  await count(node, 40, 45);
  await node.client.set('user:bytes', new Uint8Array([255, 0]));
  await node.client.set('user:brief', 'v', { ttl: 60 });
  await node.client.delete('user:old');
  const second = new Program(t, file, [url]);
  await second.shows('delete user:old');
  assert.deepEqual(second.counted, numbers(40, 45));
  assert.equal(second.snapshots, 0);

  await node.stop();
  const again = await cluster.restart('node', node);
  await again.client.expire('user:brief', { ttl: 0.05 });
  await second.shows('delete user:brief');
  await second.stop();
  const { position, entries } = await dump(file);
  assert.equal(position, (await again.client.replication()).position);
  assert.deepEqual(entries, { 'user:bytes': [255, 0], 'user:counter': [...Buffer.from('44')] });

  // A node of another history: everything is replaced.
  const other = await cluster.start('other');
  await other.client.set('user:else', 'v');
  const third = new Program(t, file, [other.url]);
  await third.shows('synced');
  await third.stop();
  assert.equal(third.lines[0], 'reset unknown-run-id');
  assert.deepEqual(Object.keys((await dump(file)).entries), ['user:else']);
});

test('a copy in Python goes on at a replica when the master is gone', { skip: WITHOUT_PYTHON }, async (t) => {
  const cluster = await Cluster.create(t);
  const { master, replica } = await cluster.linked();
  const program = new Program(t, join(await temporaryFolder(t), 'copy.db'), [master.url, replica.url]);
  await program.shows('synced');
  await count(master, 0, 5);
  await program.shows('entry user:counter 4');
  await samePosition(master, replica);
  await master.stop('SIGKILL');
  await replica.client.promote();
  await count(replica, 5, 10);
  await program.shows('entry user:counter 9');
  assert.deepEqual(program.counted, numbers(0, 10));
  assert.equal(program.snapshots, 1);
  await program.stop();
});

test('a copy in Python ends with the reason when the node wants another token', {
  skip: WITHOUT_PYTHON,
}, async (t) => {
  const cluster = await Cluster.create(t);
  const folder = await temporaryFolder(t);
  const wanted = { name: 'all', ...ALL_RIGHTS } as const;
  const { text: token } = await createToken(join(cluster.data('node'), 'tokens.json'), wanted, Date.now());
  const node = await cluster.start('node');
  const command = ['-m', 'psyncd', join(folder, 'copy.db'), '--node', node.url];
  await assert.rejects(python(command, { PSYNCD_TOKEN: 'wrong' }), { code: 1, stderr: /401/ });
  const program = new Program(t, join(folder, 'other.db'), [node.url], token);
  await program.shows('synced');
  await program.stop();
});
