/** The commands of docs/history.md, typed as they stand there, on free ports. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { promisify } from 'node:util';
import type { ChildNode } from '../src/cli/child-node.ts';
import { Cluster, converged, counters, textOf } from './support/cluster.ts';

const sh = promisify(execFile);

/** Types the lines of the page's shell blocks; comments say which node to stop. */
class Typist {
  readonly #cluster: Cluster;
  readonly #nodes = new Map<string, ChildNode>();
  /** The port that a node has, for the one that the page names. */
  readonly #ports = new Map<string, number>();
  output = '';

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  node(folder: string): ChildNode {
    return this.#nodes.get(folder) ?? assert.fail(`${folder} is not running`);
  }

  async type(line: string): Promise<void> {
    const stopped = /^# stop (\S+)$/.exec(line)?.[1];
    if (stopped !== undefined) {
      assert.equal(await this.node(stopped).stop('SIGINT'), 0);
      this.#nodes.delete(stopped);
      return;
    }
    const start = /^npm start -- --data (\S+) --port (\d+)(.*)$/.exec(line);
    if (start === null) {
      const command = this.#ported(line).replaceAll('curl ', 'curl -sS --fail ');
      this.output = (await sh('bash', ['-c', command], { cwd: this.#cluster.data('.') })).stdout;
      return;
    }
    const [, folder = '', port = '', more = ''] = start;
    const flags = this.#ported(more)
      .split(' ')
      .filter((flag) => flag !== '');
    const known = this.#ports.get(port);
    const node = await this.#cluster.start(
      folder,
      ...(known === undefined ? [] : ['--port', String(known)]),
      ...flags,
    );
    this.#nodes.set(folder, node);
    this.#ports.set(port, node.port);
  }

  #ported(line: string): string {
    let text = line;
    for (const [port, actual] of this.#ports) text = text.replaceAll(`:${port}`, `:${actual}`);
    return text;
  }
}

test('the commands of docs/history.md do what the page says', async (t) => {
  const page = await readFile(new URL('../docs/history.md', import.meta.url), 'utf8');
  const blocks = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
  assert.equal(blocks.length, 4);
  const typist = new Typist(await Cluster.create(t));
  const step = async (): Promise<void> => {
    for (const line of (blocks.shift() ?? '').split('\n')) if (line !== '') await typist.type(line);
  };
  await step();
  const master = typist.node('./moved-data');
  assert.equal(await textOf(master, 'k'), 'one');
  assert.deepEqual((await master.client.replication()).lineage, []);

  await step();
  const [again, replica] = [typist.node('./moved-data'), typist.node('./replica-data')];
  await converged(again, replica);
  assert.equal(again.ready.runId, master.ready.runId);
  assert.equal((await counters(again)).syncFull, 0);

  await step();
  const [copy] = (await typist.node('./test-data').client.replication()).lineage;
  assert.deepEqual([copy?.runId, copy?.reason], [master.ready.runId, 'promoted']);

  await step();
  assert.equal(typist.output, 'one');
  const [rolledBack] = (await typist.node('./moved-data').client.replication()).lineage;
  assert.deepEqual([rolledBack?.runId, rolledBack?.reason], [master.ready.runId, 'copied']);
  await converged(typist.node('./moved-data'), typist.node('./replica-data'));
});
