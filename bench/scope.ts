/**
 * The processes and the temporary folder of a measurement. `close` ends the processes and removes the folder, whether the
 * measurement finished, failed or was interrupted while a process started.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildNode } from '../src/cli/child-node.ts';
import type { Dataset } from './dataset.ts';

/** A process that the scope stops. */
export interface Stoppable {
  stop(): Promise<unknown>;
}

/** A node and its data folder. */
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

  /** @param dataset source of data folders with entries; all nodes of the scope run its program */
  static async open(dataset: Dataset): Promise<Scope> {
    return new Scope(await mkdtemp(join(tmpdir(), 'psyncd-bench-')), dataset);
  }

  /** Signal that aborts when the scope closes. */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  /** Starts something that ends with this scope. A `close` during the start waits for it. */
  start<T extends Stoppable>(starting: () => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    const started = starting();
    this.#owned.push(started);
    return started;
  }

  /** Starts a node with an empty data folder, and with default settings except for the flags. */
  async node(...flags: string[]): Promise<Place> {
    const data = this.#freshFolder();
    return { node: await this.nodeAt(data, ...flags), data };
  }

  /** Starts a node that holds the first `entries` keys, all of them in its keyspace file. */
  async filledNode(entries: number, ...flags: string[]): Promise<Place> {
    const data = await this.filledFolder(entries);
    return { node: await this.nodeAt(data, ...flags), data };
  }

  /** @returns an unused data folder with the first `entries` keys */
  async filledFolder(entries: number): Promise<string> {
    const data = this.#freshFolder();
    await this.#dataset.copy(entries, data);
    return data;
  }

  /** Starts a node with this data folder. */
  nodeAt(data: string, ...flags: string[]): Promise<ChildNode> {
    return this.nodeWith({}, data, ...flags);
  }

  /** Starts a node with this data folder and more environment variables. */
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
        // The caller of `start` has already got the error of a failed start.
        started.then((each) => each.stop()).catch(() => undefined),
      ),
    );
    await rm(this.folder, { recursive: true, force: true });
  }
}
