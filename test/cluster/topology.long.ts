/**
 * Five nodes that are re-pointed at random, and a model of them that says what each step must cost. The model knows
 * PSYNC's decision and how histories grow, both pure (`src/replication`); that the nodes then do as it says, and that
 * nobody is served what it did not lack, is what is tested. `PSYNCD_SEED=N` repeats a run.
 */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import test from 'node:test';
import type { ChildNode } from '../../src/cli/child-node.ts';
import { until } from '../../src/cli/until.ts';
import type { ReplicationAnswer } from '../../src/client/rest.ts';
import type { Window } from '../../src/replication/backlog.ts';
import { decide, UNKNOWN_PLACE } from '../../src/replication/decide.ts';
import { continued, type History, renamed } from '../../src/replication/history.ts';
import { type Offset, offset, parseRunId, type RunId, wireOffset } from '../../src/replication/position.ts';
import { Cluster, converged, writeMany } from '../support/cluster.ts';
import { seeded } from '../support/random.ts';

const STEPS = 20;
/** Every so many steps a replica is promoted instead. */
const PROMOTE_EVERY = 4;

/** What is known of a node. */
interface Known {
  readonly history: History;
  readonly offset: Offset;
  readonly window: Window;
  readonly upstream: string | null;
}

type Counters = ReplicationAnswer['counters'];

/** Nodes are named by their URLs. A step is made when nothing is under way; it is over when nothing is any more. */
class Topology {
  readonly #nodes: ReadonlyMap<string, ChildNode>;
  #known: ReadonlyMap<string, Known> = new Map();
  /** What the counters of all nodes come to. */
  #counters: Counters = { syncFull: 0, syncPartialOk: 0, syncPartialErr: 0 };
  readonly trace: string[] = [];

  constructor(nodes: readonly ChildNode[]) {
    this.#nodes = new Map(nodes.map((node) => [node.wsUrl, node]));
  }

  get counters(): Counters {
    return this.#counters;
  }

  get masters(): readonly string[] {
    return this.#urls(({ upstream }) => upstream === null);
  }

  get replicas(): readonly string[] {
    return this.#urls(({ upstream }) => upstream !== null);
  }

  /** Who can be re-pointed to whom: neither to its master nor to one that follows it. */
  get moves(): readonly (readonly [string, string])[] {
    return this.#urls().flatMap((from) => {
      const { upstream } = this.#of(from);
      return this.#urls()
        .filter((to) => to !== upstream && !this.#pathUp(to).includes(from))
        .map((to) => [from, to] as const);
    });
  }

  node(url: string): ChildNode {
    const node = this.#nodes.get(url);
    assert.ok(node !== undefined);
    return node;
  }

  /** Takes the state that the nodes report as the one that is known. */
  async look(): Promise<void> {
    [this.#known, this.#counters] = await this.#settled();
  }

  async move(from: string, to: string): Promise<void> {
    this.trace.push(`${this.#name(from)} REPLICAOF ${this.#name(to)}`);
    await this.node(from).client.replicaOf(to);
    this.#ask(from, to);
    await this.#check();
  }

  async promote(url: string): Promise<void> {
    this.trace.push(`${this.#name(url)} REPLICAOF NO ONE`);
    const { runId } = await this.node(url).client.promote();
    const known = this.#of(url);
    const change = { runId: runIdOf(runId), validTo: known.offset, reason: 'promoted', at: 0 } as const;
    this.#learn(url, { ...known, history: renamed(known.history, change), upstream: null });
    this.#askBelow(url);
    await this.#check();
  }

  /** `from` asks `to`, and if that changes its history, those below `from` have to ask it. */
  #ask(from: string, to: string): void {
    const [own, above] = [this.#of(from), this.#of(to)];
    const { runId } = own.history;
    const asked = wireOffset(own.offset);
    const decision = decide(
      { kind: 'psync', runId, asked, hash: null },
      above.history,
      above.window,
      UNKNOWN_PLACE,
    );
    const asks = `${this.#name(from)} asks ${this.#name(to)} for ${runId}:${asked}`;
    this.trace.push(`  ${asks}: ${JSON.stringify(decision)}`);
    const { syncFull, syncPartialOk, syncPartialErr } = this.#counters;
    const then = { offset: above.offset, upstream: to };
    if (decision.kind === 'continue') {
      this.#counters = { ...this.#counters, syncPartialOk: syncPartialOk + 1 };
      const history = continued(own.history, above.history, own.offset, 0);
      const window = { ...own.window, length: own.window.length + decision.bytes };
      this.#learn(from, { ...then, history, window });
      if (history.runId === runId) return;
    } else {
      this.#counters = { ...this.#counters, syncFull: syncFull + 1, syncPartialErr: syncPartialErr + 1 };
      const window = { firstOffset: wireOffset(above.offset), length: 0 };
      this.#learn(from, { ...then, history: above.history, window });
    }
    this.#askBelow(from);
  }

  #askBelow(url: string): void {
    for (const below of this.#urls(({ upstream }) => upstream === url)) this.#ask(below, url);
  }

  /** Waits until nothing is under way, and checks that all is as it is known, and one at each position. */
  async #check(): Promise<void> {
    const [known, counters] = await this.#settled();
    assert.deepEqual(counters, this.#counters);
    assert.deepEqual(known, this.#known);
    const states = new Map<string, string>();
    const nodes = [...this.#nodes.values()];
    for (const { position, digest } of await Promise.all(nodes.map(({ client }) => client.digest()))) {
      assert.equal(digest, states.get(position) ?? digest, `two states of ${position}`);
      states.set(position, digest);
    }
  }

  /** Waits until every replica has what its master has. */
  async #settled(): Promise<readonly [ReadonlyMap<string, Known>, Counters]> {
    await until('everything has settled', async () => {
      const now = await this.#answers();
      return [...now.values()].every(({ position, upstream }) => {
        if (upstream === null) return true;
        return upstream.state === 'streaming' && now.get(upstream.url)?.position === position;
      });
    });
    // Anew: a master that was asked before its replica may have counted in between.
    const answers = await this.#answers();
    return [
      new Map([...answers].map(([url, answer]) => [url, knownOf(answer)])),
      [...answers.values()].map(({ counters }) => counters).reduce(sum),
    ];
  }

  async #answers(): Promise<ReadonlyMap<string, ReplicationAnswer>> {
    const answers = new Map<string, ReplicationAnswer>();
    for (const [url, { client }] of this.#nodes) answers.set(url, await client.replication());
    return answers;
  }

  /** The node, its master, that one's master … */
  #pathUp(url: string): readonly string[] {
    const { upstream } = this.#of(url);
    return upstream === null ? [url] : [url, ...this.#pathUp(upstream)];
  }

  #name(url: string): string {
    return `node ${[...this.#nodes.keys()].indexOf(url)}`;
  }

  #urls(which: (known: Known) => boolean = () => true): readonly string[] {
    return [...this.#known].filter(([, known]) => which(known)).map(([url]) => url);
  }

  #of(url: string): Known {
    const known = this.#known.get(url);
    assert.ok(known !== undefined);
    return known;
  }

  #learn(url: string, known: Known): void {
    this.#known = new Map(this.#known).set(url, known);
  }
}

function sum(one: Counters, other: Counters): Counters {
  return {
    syncFull: one.syncFull + other.syncFull,
    syncPartialOk: one.syncPartialOk + other.syncPartialOk,
    syncPartialErr: one.syncPartialErr + other.syncPartialErr,
  };
}

function knownOf({ runId, offset: at, lineage, backlog, upstream }: ReplicationAnswer): Known {
  // Why and when it became one is of no consequence.
  const ancestors = lineage.map((each) => {
    return { runId: runIdOf(each.runId), validTo: offset(each.validTo), reason: 'promoted', at: 0 } as const;
  });
  return {
    history: { runId: runIdOf(runId), lineage: ancestors },
    offset: offset(at),
    window: { firstOffset: backlog.firstOffset, length: backlog.length },
    upstream: upstream?.url ?? null,
  };
}

function runIdOf(text: string): RunId {
  const runId = parseRunId(text);
  assert.ok(runId !== null);
  return runId;
}

/** Waits until nothing of replaced keyspaces is in the node's folder but what it lists as kept. */
async function hasWhatItLists(cluster: Cluster, name: string, node: ChildNode): Promise<void> {
  await until('the files are those that are listed', async () => {
    const { kept } = await node.client.replication();
    const files = (await readdir(cluster.data(name))).filter((file) => file.endsWith('.db'));
    const replaced = files.filter((file) => file.startsWith('replaced-')).toSorted();
    assert.deepEqual(replaced, kept.map(({ file }) => file).toSorted());
    return files.length === replaced.length + 2;
  });
}

test(`five nodes that are re-pointed at random ${STEPS} times need exactly the predicted resyncs`, async (t) => {
  const { seed, random } = seeded();
  t.diagnostic(`PSYNCD_SEED=${seed}`);
  const pick = <T>(from: readonly T[]): T => {
    assert.ok(from.length > 0);
    return from[Math.floor(random() * from.length)] as T;
  };
  const cluster = await Cluster.create(t);
  const first = await cluster.start('0');
  const others = await Promise.all(
    ['1', '2', '3', '4'].map((name) => cluster.start(name, '--replica-of', first.wsUrl)),
  );
  await writeMany(first, 'first/', 5);
  const topology = new Topology([first, ...others]);
  await topology.look();
  try {
    for (let step = 0; step < STEPS; step += 1) {
      const writing = topology.masters.map((url, each) =>
        writeMany(topology.node(url), `${step}/${each}/`, pick([0, 0, 1, 3])),
      );
      await Promise.all(writing);
      await topology.look();
      const { moves, replicas } = topology;
      if (step % PROMOTE_EVERY === 0 && replicas.length > 0) await topology.promote(pick(replicas));
      else await topology.move(...pick(moves));
    }
    const [last, ...rest] = topology.masters;
    assert.ok(last !== undefined);
    for (const url of rest) await topology.move(url, last);
    await topology.node(last).client.set('last', 'write');
    await converged(topology.node(last), first, ...others);
    for (const [name, node] of [first, ...others].entries())
      await hasWhatItLists(cluster, String(name), node);
  } catch (error) {
    throw new Error(`with PSYNCD_SEED=${seed}, after\n${topology.trace.join('\n')}`, { cause: error });
  }
  const { syncFull, syncPartialOk } = topology.counters;
  t.diagnostic(`${syncFull} full resyncs, ${syncPartialOk} partial ones`);
});
