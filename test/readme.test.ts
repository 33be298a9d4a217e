/** The README's first session, typed as it stands there, on free ports. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ChildNode } from '../src/cli/child-node.ts';
import { Cluster, converged, counters, linkState } from './support/cluster.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const sh = promisify(execFile);

/** The shell blocks of a section: each a list of commands, a line that ends with `|` goes on in the next. */
function shellBlocks(text: string, heading: string): string[][] {
  const section = text.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';
  return [...section.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) =>
    (match[1] ?? '')
      .replaceAll('|\n', '| ')
      .split('\n')
      .filter((line) => line !== ''),
  );
}

class Session {
  readonly #cluster: Cluster;
  readonly nodes = new Map<string, ChildNode>();
  #output = '';

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  node(folder: string): ChildNode {
    const node = this.nodes.get(folder);
    assert.ok(node !== undefined, folder);
    return node;
  }

  /** The ports that the README names stand for the ones that the nodes have. */
  #ported(line: string): string {
    const ports: [string, string][] = [
      ['7796', './master-data'],
      ['7797', './replica-data'],
    ];
    return ports.reduce((text, [port, folder]) => {
      const node = this.nodes.get(folder);
      return node === undefined ? text : text.replaceAll(port, String(node.port));
    }, line);
  }

  async run(block: readonly string[]): Promise<string> {
    this.#output = '';
    for (const line of block) {
      // "Stop the replica …, and start it again": what a block starts has been stopped before the block.
      const started = /^npm start -- --data (\S+)/.exec(line)?.[1];
      if (started !== undefined) await this.nodes.get(started)?.stop('SIGINT');
    }
    for (const line of block) await this.#type(this.#ported(line));
    return this.#output;
  }

  async #type(line: string): Promise<void> {
    const start = /^npm start -- --data (\S+)(.*)$/.exec(line);
    if (start !== null) {
      const [, folder = '', flags = ''] = start;
      const rest = flags
        .trim()
        .split(/\s+/)
        .filter((flag) => flag !== '');
      const port = rest.indexOf('--port');
      const again = this.nodes.has(folder);
      if (port !== -1 && !again) rest.splice(port, 2);
      this.nodes.set(folder, await this.#cluster.start(folder, ...rest));
      return;
    }
    const command = line.replaceAll('curl ', 'curl -sS --fail ');
    const env = { ...process.env, PSYNCD_NODE: this.node('./master-data').url };
    const { stdout } = await sh('bash', ['-c', command], { cwd: ROOT, env });
    this.#output += stdout;
  }
}

test('the first session of the README works as it is written', async (t) => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const blocks = shellBlocks(readme, 'A first session');
  const session = new Session(await Cluster.create(t));
  const step = async (): Promise<string> => {
    const block = blocks.shift();
    assert.ok(block !== undefined);
    const output = await session.run(block);
    if (session.nodes.size === 2)
      await linkState(session.node('./replica-data'), 'streaming').catch(() => null);
    return output;
  };
  await step();
  const [master, replica] = [session.node('./master-data'), session.node('./replica-data')];
  const written = await step();
  assert.match(written, /"created":true/);
  await converged(master, replica);
  assert.match(await step(), /"created":false/);
  assert.match(await step(), /"imported":2/);
  await step();
  const again = session.node('./replica-data');
  await converged(master, again);
  const claimed = /"sync":\{"kind":"partial","bytes":(\d+)\}/.exec(readme);
  const shown = await step();
  assert.ok(claimed !== null && shown.includes(claimed[0]), shown);
  assert.match(shown, /role +master$/m);
  const [first, second] = (await step()).split('}');
  assert.ok(first !== '' && first === second);
  const block = blocks.shift() ?? [];
  assert.equal(blocks.length, 0);
  await session.run(block);
  await converged(again, master);
  assert.deepEqual(await counters(again), { syncFull: 0, syncPartialOk: 1, syncPartialErr: 0 });

  const [acks = [], position = [], failover = [], backlog = [], ...rest] = shellBlocks(
    readme,
    'Replication every day',
  );
  assert.deepEqual(rest, []);
  assert.match(await session.run(acks), /"acks":1\}/);
  assert.match(await session.run([position.join('\n')]), /^new.*continue: partial resync, 0 bytes/s);
  assert.match(
    await session.run(failover),
    /is the master, at .*; writes were held for \d+ ms\nrole +master$/m,
  );
  await converged(again, master);
  // The full one and one partial one are from when it was the first master.
  assert.deepEqual(await counters(master), { syncFull: 1, syncPartialOk: 2, syncPartialErr: 0 });
  assert.match(await session.run(backlog), /"awaySeconds":120,.*"backlogSize":"auto:120s"/s);

  const [snapshot = [], resume = [], ...others] = shellBlocks(readme, 'Following changes');
  assert.deepEqual(others, []);
  assert.match(
    await session.run(snapshot),
    /^\{"type":"reset",.*,"keys":1\}\n\{"type":"entry","key":"safe","value":"new",.*\n\{"type":"synced",/,
  );
  assert.match(
    await session.run([resume.join('\n')]),
    /\{"type":"continue",.*\n\{"type":"set","key":"safe","value":"newer",/,
  );
});
