/** Data folders with many entries: each is filled once per run and copied for each node. */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildNode } from '../src/cli/child-node.ts';
import { fill } from './fill.ts';

export class Dataset {
  /** Program that nodes run; undefined: the sources. */
  readonly main: string | undefined;
  readonly #filled = new Map<number, Promise<string>>();
  #folder: Promise<string> | null = null;

  constructor(main?: string) {
    this.main = main;
  }

  /** Copies the data folder of a stopped node that holds the first `entries` keys. */
  async copy(entries: number, to: string): Promise<void> {
    let filled = this.#filled.get(entries);
    if (filled === undefined) {
      filled = this.#fill(entries);
      this.#filled.set(entries, filled);
    }
    await cp(await filled, to, { recursive: true });
  }

  async close(): Promise<void> {
    if (this.#folder !== null) await rm(await this.#folder, { recursive: true, force: true });
  }

  async #fill(entries: number): Promise<string> {
    this.#folder ??= mkdtemp(join(tmpdir(), 'psyncd-data-'));
    const data = join(await this.#folder, String(entries));
    const node = await ChildNode.start(['--port', '0', '--data', data], {}, this.main);
    try {
      await fill(node, entries);
      const { keys } = await node.client.digest();
      if (keys !== entries) throw new Error(`the node has ${keys} keys, not ${entries}`);
    } finally {
      await node.stop();
    }
    return data;
  }
}
