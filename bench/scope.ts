/**
 * What a measurement has started: processes and a temp folder. All of it ends with `close`, whether the measurement
 * was finished, failed, or was interrupted in the middle of starting something.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildNode } from '../src/cli/child-node.ts';

export interface Stoppable {
  stop(): Promise<unknown>;
}

export class Scope {
  readonly folder: string;
  readonly #closing = new AbortController();
  readonly #owned: Promise<Stoppable>[] = [];
  #nodes = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<Scope> {
    return new Scope(await mkdtemp(join(tmpdir(), 'psyncd-bench-')));
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
  async node(...flags: string[]): Promise<{ readonly node: ChildNode; readonly data: string }> {
    this.#nodes += 1;
    const data = join(this.folder, `node-${this.#nodes}`);
    return { node: await this.nodeAt(data, ...flags), data };
  }

  /** A node with this data folder. */
  nodeAt(data: string, ...flags: string[]): Promise<ChildNode> {
    return this.start(() => ChildNode.start(['--port', '0', '--data', data, ...flags]));
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
