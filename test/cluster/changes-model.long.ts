/**
 * Mirrors of random prefixes that are cut, and change their transport and their node, while the cluster under them is
 * written to, cut, resynced, re-pointed and promoted. Each ends up with what the master has; and each saw, between two
 * snapshots, exactly what an oracle saw of its prefixes that was never disturbed. `PSYNCD_SEED=N` repeats a run's choices.
 */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { ChildNode } from '../../src/cli/child-node.ts';
import type { LinkProxy } from '../../src/cli/demo/link-proxy.ts';
import { until } from '../../src/cli/until.ts';
import { Cluster, samePosition } from '../support/cluster.ts';
import { offsetOf, TestFollower, TRANSPORTS } from '../support/follower.ts';
import { apply, type Entries, Mirror, type MirrorEntry, type Segment, type Step } from '../support/mirror.ts';
import { type Seeded, seeded } from '../support/random.ts';

const STEPS = Number(process.env.PSYNCD_STEPS ?? 100);
const MIRRORS = 7;
const BACKLOG_BYTES = 32 * 1024;
const GROUPS = ['a/', 'ab/', 'b/', 'é/', '😀'];
const PREFIXES: readonly (readonly string[])[] = [
  [],
  ['a'],
  ['a/'],
  ['ab/', 'b/'],
  ['é', '😀'],
  ['a/', 'b/', '😀'],
  ['b/1'],
];

/** Draws from a seed. */
class Draw {
  readonly #random: () => number;

  constructor({ random }: Seeded) {
    this.#random = random;
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  percent(chance: number): boolean {
    return this.below(100) < chance;
  }
}

/** A mirror that always finds another way to go on. */
class Restless {
  readonly mirror: Mirror;
  readonly trace: string[] = [];
  readonly #t: TestContext;
  readonly #draw: Draw;
  readonly #nodes: readonly ChildNode[];
  #follower: TestFollower | null = null;
  #isStopped = false;
  readonly done: Promise<void>;
  failure: unknown = null;

  constructor(t: TestContext, mirror: Mirror, draw: Draw, nodes: readonly ChildNode[]) {
    this.#t = t;
    this.mirror = mirror;
    this.#draw = draw;
    this.#nodes = nodes;
    this.done = this.#run().catch((error: unknown) => {
      this.failure ??= error;
    });
  }

  disturb(): void {
    if (this.#draw.percent(70)) this.#follower?.cut();
    else this.#follower?.close();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#follower?.cut();
    await this.done;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#once();
      // It may have been refused; nobody should ask a thousand times a second.
      await wait(5);
    }
  }

  async #once(): Promise<void> {
    const { mirror } = this;
    const [node, transport] = [this.#draw.below(this.#nodes.length), this.#draw.of(TRANSPORTS)];
    const query = new URLSearchParams(mirror.prefixes.map((prefix): [string, string] => ['prefix', prefix]));
    if (mirror.position !== null) query.set('position', mirror.position);
    if (this.#draw.percent(15)) query.set('limit', String(1 + this.#draw.below(5)));
    if (this.#draw.percent(15)) query.set('wait', String(this.#draw.below(300) / 1000));
    this.trace.push(`${transport} of node ${node}: ${query}`);
    const { url } = this.#nodes[node] as ChildNode;
    this.#follower = TestFollower.follow(this.#t, url, { transport, query: String(query) });
    mirror.connect();
    for await (const event of this.#follower) {
      this.trace.push(`${event.type} ${event.key ?? ''} ${event.position ?? event.code ?? ''}`);
      mirror.take(event);
    }
    const { ended } = this.#follower;
    this.trace.push(`${ended?.status} ${ended?.closeCode} ${ended?.body}`);
    const refusals = [0, 101, 200, 503];
    assert.ok(refusals.includes(ended?.status ?? 0), JSON.stringify(ended));
  }
}

class Story {
  readonly #draw: Draw;
  readonly trace: string[] = [];
  readonly nodes: readonly [ChildNode, ChildNode, ChildNode];
  readonly #stranger: ChildNode;
  /** Those of the first two nodes, which are master and replica by turns, and of the third, which follows the second. */
  readonly #links: readonly [LinkProxy, LinkProxy];
  readonly #expiresSoon: () => boolean;
  #master = 0;
  /** What is to be put right later. */
  readonly #repairs: (() => unknown)[] = [];

  constructor(
    draw: Draw,
    nodes: readonly [ChildNode, ChildNode, ChildNode],
    stranger: ChildNode,
    links: readonly [LinkProxy, LinkProxy],
    expiresSoon: () => boolean,
  ) {
    this.#draw = draw;
    this.nodes = nodes;
    this.#stranger = stranger;
    this.#links = links;
    this.#expiresSoon = expiresSoon;
  }

  get master(): ChildNode {
    return this.nodes[this.#master] as ChildNode;
  }

  async step(mirrors: readonly Restless[]): Promise<void> {
    const draw = this.#draw;
    await Promise.all(Array.from({ length: 1 + draw.below(4) }, () => this.#write()));
    if (draw.percent(25)) draw.of(mirrors).disturb();
    if (draw.percent(8)) await this.#disturb();
    if (draw.percent(20)) await this.#repairs.shift()?.();
  }

  async heal(): Promise<void> {
    for (const repair of this.#repairs.splice(0)) await repair();
    await samePosition(...this.nodes);
  }

  async #write(): Promise<void> {
    const draw = this.#draw;
    const key = this.#key();
    const at = `/v1/keys/${encodeURIComponent(key)}`;
    const kind = draw.below(100);
    if (kind < 40) await this.#send('PUT', at, this.#value());
    else if (kind < 48) await this.#send('PUT', `${at}?ttl=${draw.below(400) / 1000 + 0.001}`, 'soon gone');
    else if (kind < 56) await this.#send('DELETE', at);
    else if (kind < 62) await this.#send('POST', `${at}/increment`, { by: draw.below(100) });
    else if (kind < 66) await this.#send('POST', `${at}/append`, 'more');
    else if (kind < 70) await this.#send('PUT', `${at}/expiry`, { ttl: draw.of([0.05, 100]) });
    else if (kind < 73) await this.#send('DELETE', `${at}/expiry`);
    else if (kind < 93) await this.#send('POST', '/v1/batch', { ops: this.#ops() });
    else if (kind < 98) await this.#send('DELETE', `/v1/keys?prefix=${encodeURIComponent(draw.of(GROUPS))}`);
    else if (kind < 99) await this.#send('DELETE', '/v1/keys?all=true');
    else await this.#send('PUT', at, 'x'.repeat(100_000));
  }

  #key(): string {
    return `${this.#draw.of(GROUPS)}${this.#draw.below(6)}`;
  }

  #value(): Buffer {
    const draw = this.#draw;
    return Buffer.alloc(draw.of([0, 1, 20, 125, 126, 1_000, 5_000]), draw.of(['x', '7', 'ü', '\u0000']));
  }

  #ops(): readonly object[] {
    return Array.from({ length: 1 + this.#draw.below(5) }, () => {
      const key = this.#key();
      const value = this.#value().toString('base64');
      return this.#draw.of([
        { op: 'set', key, value, encoding: 'base64' },
        { op: 'delete', key },
      ]);
    });
  }

  /** Refused or not: what the model compares is what the nodes say afterwards. */
  async #send(method: string, path: string, body?: Buffer | string | object): Promise<void> {
    const isJson = typeof body === 'object' && !Buffer.isBuffer(body);
    const sent = isJson ? JSON.stringify(body) : Buffer.from(body ?? '');
    const response = await fetch(`${this.master.url}${path}`, {
      method,
      ...(body === undefined ? {} : { body: sent }),
      headers: { 'content-type': isJson ? 'application/json' : 'application/octet-stream' },
    });
    await response.arrayBuffer();
  }

  async #disturb(): Promise<void> {
    const draw = this.#draw;
    const [, , third] = this.nodes;
    const link = draw.below(2);
    const cut = this.#links[link] as LinkProxy;
    switch (draw.of(['cut', 'behind', 'behind', 'stranger', 'promote'])) {
      case 'cut':
        this.trace.push(`cut ${link}`);
        cut.cut();
        this.#repairs.push(() => cut.restore());
        return;
      case 'behind':
        this.trace.push(`cut ${link}, and too much is written`);
        cut.cut();
        await this.#send('PUT', `/v1/keys/${encodeURIComponent(this.#key())}`, 'y'.repeat(BACKLOG_BYTES + 1));
        this.#repairs.push(() => cut.restore());
        return;
      case 'stranger':
        this.trace.push('the third follows somebody else');
        await third.client.replicaOf(this.#stranger.wsUrl);
        this.#repairs.push(() => third.client.replicaOf(this.#links[1].wsUrl));
        return;
      default:
        // A node that lags cannot take over.
        if (this.#repairs.length === 0) await this.#changeMaster();
    }
  }

  async #changeMaster(): Promise<void> {
    const [first, second] = this.nodes;
    await samePosition(first, second);
    const [from, to] = this.#master === 0 ? [first, second] : [second, first];
    // What the old master deletes on its own, between the look and the promotion, would be a history of its own.
    const planned = this.#expiresSoon() || this.#draw.percent(50);
    this.trace.push(`${planned ? 'hand over to' : 'promote'} the ${to === first ? 'first' : 'second'}`);
    if (planned) await from.client.failover(to.wsUrl);
    else await to.client.promote();
    this.#master = 1 - this.#master;
    const { runId } = await to.client.replication();
    await from.client.replicaOf(from === first ? to.wsUrl : this.#links[0].wsUrl);
    await until('the old master follows', async () => (await from.client.replication()).runId === runId);
  }
}

/** What there is of some prefixes. */
function part(entries: Entries, mirror: Mirror): Entries {
  return new Map([...entries].filter(([key]) => wants(mirror, key)));
}

function wants({ prefixes }: Mirror, key: string): boolean {
  return prefixes.length === 0 || prefixes.some((prefix) => key.startsWith(prefix));
}

/** What the oracle's steps are to somebody who wants some prefixes. */
function seenBy(mirror: Mirror, steps: readonly Step[]): readonly Step[] {
  return steps
    .map(({ offset, changes }) => ({
      offset,
      changes: changes.filter(({ key }) => key === undefined || wants(mirror, key)),
    }))
    .filter(({ changes }) => changes.length > 0);
}

/** What there was at the offset. */
function stateAt({ snapshot, steps }: Segment, at: number): Entries {
  const entries = new Map(snapshot);
  for (const { offset, changes } of steps) if (offset <= at) apply(entries, changes);
  return entries;
}

/** What has expired is in no snapshot, until it is deleted it may be in a mirror. */
function live(entries: Entries): Entries {
  const now = Date.now();
  return new Map([...entries].filter(([, { expiresAt }]) => expiresAt === null || expiresAt > now));
}

function sorted(entries: Entries): unknown {
  return [...entries].sort(([one], [other]) => (one < other ? -1 : 1));
}

async function exported(node: ChildNode): Promise<Entries> {
  const text = await (await fetch(`${node.url}/v1/export`)).text();
  const lines = text.split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const { key, ...entry } = JSON.parse(line) as MirrorEntry & { readonly key: string };
      return [key, entry];
    }),
  );
}

async function run(t: TestContext, seed: number): Promise<void> {
  const draw = new Draw(seeded(seed));
  const cluster = await Cluster.create(t);
  // A flush may be all that there is of the history that the third comes back to.
  const flags = ['--backlog-size', `${BACKLOG_BYTES}`, '--apply-interval', '20ms', '--allow-empty-master'];
  const [first, second, third, stranger] = await Promise.all(
    ['first', 'second', 'third', 'stranger'].map((name) => cluster.start(name, ...flags)),
  );
  assert.ok(first && second && third && stranger);
  const links = [await cluster.proxy(first), await cluster.proxy(second)] as const;
  for (const key of ['a/1', 'b/1', 'b/99']) await stranger.client.set(key, 'of the stranger');
  await first.client.set('a/1', 'first');
  await second.client.replicaOf(links[0].wsUrl);
  await third.client.replicaOf(links[1].wsUrl);
  await samePosition(first, second, third);

  // The first node is never cut off and never gets a full resync: what it sees is what happened.
  const oracle = new Mirror([]);
  const watching = TestFollower.follow(t, first.url, { transport: 'ndjson' });
  const watched = (async () => {
    for await (const event of watching) oracle.take(event);
  })();
  await until('the oracle has its snapshot', () => oracle.segments.length > 0);
  const expiresSoon = (): boolean =>
    [...oracle.entries.values()].some(({ expiresAt }) => (expiresAt ?? Infinity) < Date.now() + 5_000);
  const story = new Story(draw, [first, second, third], stranger, links, expiresSoon);
  const mirrors = Array.from({ length: MIRRORS }, (_, index) => {
    const mirror = new Mirror(PREFIXES[index % PREFIXES.length] as readonly string[]);
    return new Restless(t, mirror, new Draw(seeded(seed * 100 + index)), story.nodes);
  });
  const broken = (): void => {
    for (const { failure, trace } of mirrors) {
      if (failure !== null) throw new Error(`${failure}\n${trace.slice(-30).join('\n')}`, { cause: failure });
    }
  };
  for (let step = 0; step < STEPS; step += 1) {
    await story.step(mirrors);
    broken();
  }
  await story.heal();
  const expiring = async (): Promise<boolean> =>
    [...oracle.entries.values()].some(
      ({ expiresAt }) => expiresAt !== null && expiresAt < Date.now() + 2_000,
    );
  await until('all is deleted that expires', async () => !(await expiring()));
  await samePosition(...story.nodes);
  const restless = mirrors.map(({ mirror }) => mirror);
  const heardOfEnd = async (): Promise<boolean> => {
    broken();
    // Asked anew each time: what expires meanwhile is deleted.
    const end = offsetOf((await story.master.client.replication()).position);
    return [oracle, ...restless].every(
      (mirror) => mirror.position?.split(':')[0] !== undefined && mirror.offset === end,
    );
  };
  await until('everybody has heard of the end', heardOfEnd);
  for (const mirror of mirrors) await mirror.stop();
  await until('the oracle has seen what all have seen', () =>
    restless.every((mirror) => mirror.offset <= oracle.offset),
  );
  watching.cut();
  await watched;
  broken();

  const truth = await exported(story.master);
  assert.deepEqual(sorted(live(oracle.entries)), sorted(live(truth)));
  assert.equal(oracle.segments.length, 1, 'the oracle was reset');
  const segment: Segment | undefined = oracle.segments[0];
  assert.ok(segment !== undefined);
  const { lineage, runId } = await story.master.client.replication();
  const ours = new Set([runId, ...lineage.map((ancestor) => ancestor.runId)]);
  let [resets, steps] = [0, 0];
  for (const { mirror, trace } of mirrors) {
    const name = `${mirror.prefixes} ${trace.slice(-40).join('\n')}`;
    assert.deepEqual(sorted(live(mirror.entries)), sorted(live(part(truth, mirror))), name);
    for (const [index, each] of mirror.segments.entries()) {
      resets += 1;
      steps += each.steps.length;
      if (!ours.has(each.runId)) {
        assert.deepEqual(each.steps, [], 'nobody wrote to the stranger');
        continue;
      }
      const last = each.steps.at(-1)?.offset ?? each.base;
      const to = index === mirror.segments.length - 1 ? mirror.offset : last;
      const expected: readonly Step[] = segment.steps.filter(
        ({ offset }) => offset > each.base && offset <= to,
      );
      assert.deepEqual(each.steps, seenBy(mirror, expected), name);
      const then = stateAt(segment, each.base);
      // What had an expiry may have been left out.
      for (const [key, entry] of part(then, mirror)) {
        const had = each.snapshot.get(key);
        if (had !== undefined || entry.expiresAt === null) assert.deepEqual(had, entry, `${key}: ${name}`);
      }
      for (const key of each.snapshot.keys()) assert.ok(then.has(key), `${key}: ${name}`);
    }
  }
  t.diagnostic(
    `${segment.steps.length} writes, ${resets} snapshots, ${steps} steps; ${story.trace.join('; ')}`,
  );
}

const SEEDS = Number(process.env.PSYNCD_SEEDS ?? 1);
const { seed: FIRST } = seeded();

for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
  test(`mirrors that are cut off and moved between nodes see each change once and end up equal to the master (PSYNCD_SEED=${seed})`, async (t) => {
    await run(t, seed);
  });
}
