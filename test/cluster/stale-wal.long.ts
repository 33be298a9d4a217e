/**
 * Files of an older copy are put over those of a killed node, and newer WALs stay where the copy has none: a node that
 * starts holds exactly what was written up to its position.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { parsePosition } from '../../src/replication/position.ts';
import { Cluster, textOf } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const sh = promisify(execFile);

const ROUNDS = 6;
const KEYS = 40;
const MOST_WRITES = 300;
const MOST_RUNS = 3;

/** Writes one after the other, and what they make of the keys at each offset. */
class Writes {
  readonly #offsets: number[] = [];

  async make(node: ChildNode, count: number): Promise<void> {
    for (let made = 0; made < count; made += 1) {
      const number = this.#offsets.length;
      const { position } = await node.client.set(
        `key${number % KEYS}`,
        `${number}`.padEnd(number % 400, '.'),
      );
      this.#offsets.push(parsePosition(position)?.offset ?? Number.NaN);
    }
  }

  /** Checks that the node holds what was written up to its offset. */
  async expectIn(node: ChildNode): Promise<void> {
    const count = this.#offsets.filter((offset) => offset <= node.ready.offset).length;
    for (let key = 0; key < KEYS; key += 1) {
      const number = count - 1 - ((((count - 1 - key) % KEYS) + KEYS) % KEYS);
      const expected = number < 0 ? null : `${number}`.padEnd(number % 400, '.');
      assert.equal(await textOf(node, `key${key}`), expected, `key${key} after ${count} writes`);
    }
  }
}

test('a killed node with some files from an older copy refuses to start, or holds exactly the writes up to its position', async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const below = (end: number): number => Math.floor(random() * end);
  const cluster = await Cluster.create(t);
  const seen = { refused: 0, damaged: 0, started: 0 };
  for (let round = 0; round < ROUNDS; round += 1) {
    const name = `node${round}`;
    const writes = new Writes();
    const run = async (signal: NodeJS.Signals): Promise<void> => {
      const node = await cluster.start(name, '--apply-interval', '20ms');
      await writes.make(node, 1 + below(MOST_WRITES));
      await node.stop(signal);
    };
    const any = (): NodeJS.Signals => (below(3) > 0 ? 'SIGTERM' : 'SIGKILL');
    await run(any());
    const copy = cluster.data(`copy${round}`);
    await sh('cp', ['-r', cluster.data(name), copy]);
    for (let runs = 1 + below(MOST_RUNS); runs > 0; runs -= 1) await run(any());
    await run('SIGKILL');

    // A file is copied with the WAL that the copy has, if there is one.
    const databases = [['psyncd.db'], ['keyspace-1.db'], ['psyncd.db', 'keyspace-1.db']][
      below(3)
    ] as string[];
    for (const file of await readdir(copy)) {
      if (databases.some((each) => file === each || file === `${each}-wal`))
        await copyFile(join(copy, file), join(cluster.data(name), file));
    }
    let node: ChildNode;
    try {
      node = await cluster.start(name);
    } catch (error) {
      const { message } = error as Error;
      assert.match(message, /is damaged/);
      seen[message.includes('belongs to another state of it') ? 'refused' : 'damaged'] += 1;
      continue;
    }
    seen.started += 1;
    await writes.expectIn(node);
    await node.stop();
  }
  t.diagnostic(JSON.stringify(seen));
});
