/** Real nodes in their own processes and folders, that are gone when the test is over. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ChildNode } from '../../src/cli/child-node.ts';
import { LinkProxy } from '../../src/cli/demo/link-proxy.ts';
import { until } from '../../src/cli/until.ts';
import type { DigestAnswer, ReplicationAnswer } from '../../src/client/rest.ts';
import { violations, watchFetch } from './contract.ts';
import { type KeptPort, keptPort } from './kept-port.ts';
import { MAIN } from './main-file.ts';

// Some hundred processes are started, each with the same modules: half of a start is compiling them.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('../../node_modules/.cache/compile', import.meta.url),
);

/** A folder that is removed after the test. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'psyncd-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export class Cluster {
  readonly #t: TestContext;
  readonly #folder: string;
  readonly #nodes: ChildNode[] = [];
  readonly #proxies: LinkProxy[] = [];
  readonly #ports: KeptPort[] = [];

  private constructor(t: TestContext, folder: string) {
    this.#t = t;
    this.#folder = folder;
  }

  static async create(t: TestContext): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'psyncd-test-'));
    const cluster = new Cluster(t, folder);
    t.after(() => cluster.#end());
    return cluster;
  }

  /** The data folder of the node called `name`. */
  data(name: string): string {
    return join(this.#folder, name);
  }

  /** Starts the node called `name`, on a port that is its own until the test ends, unless the flags name another one. */
  start(name: string, ...flags: string[]): Promise<ChildNode> {
    return this.startWith({}, name, ...flags);
  }

  /** The same, with more environment variables. */
  async startWith(
    environment: Readonly<Record<string, string>>,
    name: string,
    ...flags: string[]
  ): Promise<ChildNode> {
    const port = flags.includes('--port') ? [] : ['--port', String(await this.#freePort())];
    const node = await ChildNode.start(['--data', this.data(name), ...port, ...flags], environment, MAIN);
    this.#nodes.push(node);
    watchFetch(node.url);
    return node;
  }

  /** Starts the node called `name` again, where it was reachable before. */
  restart(name: string, before: ChildNode, ...flags: string[]): Promise<ChildNode> {
    return this.start(name, '--port', String(before.port), ...flags);
  }

  /** A link to a node that can be cut. */
  async proxy(to: ChildNode): Promise<LinkProxy> {
    const proxy = await LinkProxy.to(to.port);
    this.#proxies.push(proxy);
    return proxy;
  }

  /**
   * A master, and a replica that follows it over a link that can be cut; it need not be there yet.
   * @param flags of the master
   * @param replicaFlags of the replica, beside whom it follows
   */
  async linked(
    flags: readonly string[] = [],
    replicaFlags: readonly string[] = [],
  ): Promise<{ readonly master: ChildNode; readonly link: LinkProxy; readonly replica: ChildNode }> {
    const master = await this.start('master', ...flags);
    const link = await this.proxy(master);
    const replica = await this.start('replica', '--replica-of', link.wsUrl, ...replicaFlags);
    return { master, link, replica };
  }

  async #freePort(): Promise<number> {
    const kept = await keptPort();
    this.#ports.push(kept);
    return kept.port;
  }

  async #end(): Promise<void> {
    // In Node since 22; the type definitions do not know it.
    const { passed } = this.#t as TestContext & { readonly passed: boolean };
    if (!passed) {
      for (const node of this.#nodes) process.stderr.write(`--- log of ${node.url}\n${node.log}\n`);
    }
    await Promise.all(this.#proxies.map((proxy) => proxy.close()));
    await Promise.all(
      this.#nodes.map((node) => {
        node.process.kill('SIGCONT');
        return node.stop('SIGKILL');
      }),
    );
    for (const kept of this.#ports) kept.release();
    await rm(this.#folder, { recursive: true, force: true });
    assert.deepEqual(violations.splice(0), [], 'answers that openapi.yaml does not describe');
  }
}

/** Waits until all nodes have the first one's position and nothing more comes. */
export async function samePosition(...nodes: readonly ChildNode[]): Promise<void> {
  await until('the nodes have the same position', async () => {
    const states = await Promise.all(nodes.map((node) => node.client.replication()));
    const settled = states.every(({ upstream }) => upstream === null || upstream.state === 'streaming');
    return settled && new Set(states.map(({ position }) => position)).size === 1;
  });
}

/**
 * Waits until all nodes have the same position, and checks that they hold the same. The nodes answer one after the other,
 * and an entry may expire between two answers: only digests of one position are compared.
 */
export async function converged(...nodes: readonly ChildNode[]): Promise<DigestAnswer> {
  const digests = await until('the nodes tell digests of one position', async () => {
    await samePosition(...nodes);
    const answers = await Promise.all(nodes.map((node) => node.client.digest()));
    return new Set(answers.map(({ position }) => position)).size === 1 && answers;
  });
  const [first] = digests;
  assert.ok(first !== undefined);
  for (const digest of digests) assert.deepEqual(digest, first);
  return first;
}

export async function counters(node: ChildNode): Promise<ReplicationAnswer['counters']> {
  return (await node.client.replication()).counters;
}

/** Waits until the node's link is in this state. */
export function linkState(node: ChildNode, state: string): Promise<ReplicationAnswer> {
  return until(`the link is ${state}`, async () => {
    const answer = await node.client.replication();
    return answer.upstream?.state === state ? answer : null;
  });
}

/** Writes so many entries `prefix0`, `prefix1`, …, one after the other. */
export async function writeMany(node: ChildNode, prefix: string, count: number, value = 'v'): Promise<void> {
  for (let index = 0; index < count; index += 1)
    await node.client.set(`${prefix}${index}`, `${value}${index}`);
}

/** The value as text; null if there is none. */
export async function textOf(node: ChildNode, key: string): Promise<string | null> {
  const value = await node.client.get(key);
  return value === null ? null : Buffer.from(value).toString('utf8');
}
