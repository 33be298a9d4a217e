/**
 * Everything that a measurement has started: processes and a temporary folder. `close` ends all of it, whether the
 * measurement finished, failed or was interrupted during a start.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildNode } from '../src/cli/child-node.ts';
import type { Dataset } from './dataset.ts';

export interface Stoppable {
  stop(): Promise<unknown>;
}

export interface Place {
  readonly node: ChildNode;
  readonly data: string;
}

export class Scope {
  readonly folder: string;
  readonly #closing = new AbortController();
  readonly #owned: Promise<Stoppable>[] = [];
  #nodes = 0;

  readonly #dataset: Dataset;

  private constructor(folder: string, dataset: Dataset) {
    this.folder = folder;
    this.#dataset = dataset;
  }

  /** @param dataset what nodes that begin with data get it from; all of them run its program */
  static async open(dataset: Dataset): Promise<Scope> {
    return new Scope(await mkdtemp(join(tmpdir(), 'psyncd-bench-')), dataset);
  }

  /** Aborted when the scope closes. */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  /** Starts something that ends with this scope. It is registered before it is there: a `close` meanwhile waits. */
  start<T extends Stoppable>(starting: () => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    const started = starting();
    this.#owned.push(started);
    return started;
  }

  /** A node with an empty data folder, and default settings unless the flags say otherwise. */
  async node(...flags: string[]): Promise<Place> {
    const data = this.#freshFolder();
    return { node: await this.nodeAt(data, ...flags), data };
  }

  /** A node that holds the first so many keys, and has nothing left to do. */
  async filledNode(entries: number, ...flags: string[]): Promise<Place> {
    const data = await this.filledFolder(entries);
    return { node: await this.nodeAt(data, ...flags), data };
  }

  /** The data folder of such a node, that nobody uses. */
  async filledFolder(entries: number): Promise<string> {
    const data = this.#freshFolder();
    await this.#dataset.copy(entries, data);
    return data;
  }

  /** A node with this data folder. */
  nodeAt(data: string, ...flags: string[]): Promise<ChildNode> {
    return this.nodeWith({}, data, ...flags);
  }

  /** The same, with more environment variables. */
  nodeWith(
    environment: Readonly<Record<string, string>>,
    data: string,
    ...flags: string[]
  ): Promise<ChildNode> {
    const { main } = this.#dataset;
    return this.start(() => ChildNode.start(['--port', '0', '--data', data, ...flags], environment, main));
  }

  #freshFolder(): string {
    this.#nodes += 1;
    return join(this.folder, `node-${this.#nodes}`);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(
      this.#owned.map((started) =>
        // What did not start has told the one who started it.
        started.then((each) => each.stop()).catch(() => undefined),
      ),
    );
    await rm(this.folder, { recursive: true, force: true });
  }
}
