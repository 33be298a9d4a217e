/** Where a node of a chaos test runs: its folder, its port, and the proxy through which others follow it. */
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ChildNode } from '../../src/cli/child-node.ts';
import { LinkProxy } from '../../src/cli/demo/link-proxy.ts';
import { type KeptPort, keptPort } from '../support/kept-port.ts';
import { MAIN } from '../support/main-file.ts';

const FLAGS = ['--repl-timeout', '2s', '--repl-ping-interval', '500ms', '--log-level', 'warn'];

/** A place in the cluster: the node that runs there, or will again. */
export class Place {
  readonly name: string;
  readonly #folder: string;
  readonly #port: KeptPort;
  /** Others follow this node through it. */
  readonly proxy: LinkProxy;
  node: ChildNode;
  /** Resolves when it is up and going. */
  back: Promise<void> = Promise.resolve();

  private constructor(name: string, folder: string, port: KeptPort, node: ChildNode, proxy: LinkProxy) {
    this.name = name;
    this.#folder = folder;
    this.#port = port;
    this.node = node;
    this.proxy = proxy;
  }

  static async start(folder: string, name: string): Promise<Place> {
    const kept = await keptPort();
    const port = String(kept.port);
    const node = await ChildNode.start(['--port', port, '--data', join(folder, name), ...FLAGS], {}, MAIN);
    return new Place(name, folder, kept, node, await LinkProxy.to(node.port));
  }

  get data(): string {
    return join(this.#folder, this.name);
  }

  /** `kill -9`, and up again where it was. */
  kill(downMs: number): void {
    this.back = this.back.then(async () => {
      await this.node.stop('SIGKILL');
      await wait(downMs);
      await this.start();
    });
  }

  /** A process again, under the port that it had. @param flags beside those of all nodes */
  async start(...flags: readonly string[]): Promise<void> {
    const port = String(this.#port.port);
    this.node = await ChildNode.start(['--port', port, '--data', this.data, ...FLAGS, ...flags], {}, MAIN);
  }

  /** Does something with the folder while no thread of the node runs, and lets it go on. */
  async paused(work: () => Promise<void>): Promise<void> {
    this.node.process.kill('SIGSTOP');
    try {
      await work();
    } finally {
      this.node.process.kill('SIGCONT');
    }
  }

  freeze(ms: number): void {
    this.back = this.back.then(async () => {
      this.node.process.kill('SIGSTOP');
      await wait(ms);
      this.node.process.kill('SIGCONT');
    });
  }

  async end(): Promise<void> {
    await this.back.catch(() => undefined);
    this.node.process.kill('SIGCONT');
    await this.node.stop('SIGKILL');
    await this.proxy.close();
    this.#port.release();
  }
}
