/**
 * Real nodes that are killed, stopped, cut off, promoted and handed over at random, under writers. At the end everything
 * is healed, and then: all nodes hold the same, and every write that was answered is there, or was superseded, or is past
 * what the last master's history shares with the one that it was written to (a replica was promoted that lacked it).
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ChildNode } from '../../src/cli/child-node.ts';
import { LinkProxy } from '../../src/cli/demo/link-proxy.ts';
import { until } from '../../src/cli/until.ts';
import type { ReplicationAnswer } from '../../src/client/rest.ts';
import { type History, standing } from '../../src/replication/history.ts';
import { parsePosition } from '../../src/replication/position.ts';
import type { Seeded } from '../support/random.ts';

const NODES = 4;
const WRITERS = 4;
const FLAGS = ['--repl-timeout', '2s', '--repl-ping-interval', '500ms', '--log-level', 'warn'];
/** A killed node comes back after so long at most; a stopped one goes on. */
const MAX_DOWN_MS = 400;

export interface ChaosOutcome {
  readonly kills: number;
  readonly actions: Readonly<Record<string, number>>;
  readonly answered: number;
  /** Answered writes that no survivor has to have: they were written to a history that was left behind. */
  readonly leftBehind: number;
}

interface Answered {
  readonly value: number;
  readonly position: string;
}

/** Writes 1, 2, 3, … under one key, wherever the master is. */
class Writer {
  readonly key: string;
  readonly answered: Answered[] = [];
  attempted = 0;
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(key: string, nodeUrl: () => string) {
    this.key = key;
    this.#done = this.#run(nodeUrl);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(nodeUrl: () => string): Promise<void> {
    while (!this.#stopped) {
      this.attempted += 1;
      const value = this.attempted;
      try {
        const answer = await fetch(`${nodeUrl()}/v1/keys/${this.key}`, {
          method: 'PUT',
          body: String(value),
          signal: AbortSignal.timeout(3_000),
        });
        const body = (await answer.json()) as { position?: string };
        if (answer.ok) this.answered.push({ value, position: body.position ?? '' });
        else await wait(20);
      } catch {
        // The node was killed, or is silent: whether this number was written is not known.
        await wait(20);
      }
    }
  }
}

/** A place in the cluster: the node that runs there, or will again. */
class Place {
  readonly name: string;
  readonly #folder: string;
  /** Others follow this node through it. */
  readonly proxy: LinkProxy;
  node: ChildNode;
  /** Resolves when it is up and going. */
  back: Promise<void> = Promise.resolve();

  private constructor(name: string, folder: string, node: ChildNode, proxy: LinkProxy) {
    this.name = name;
    this.#folder = folder;
    this.node = node;
    this.proxy = proxy;
  }

  static async start(folder: string, name: string): Promise<Place> {
    const node = await ChildNode.start(['--port', '0', '--data', join(folder, name), ...FLAGS]);
    return new Place(name, folder, node, await LinkProxy.to(node.port));
  }

  /** `kill -9`, and up again where it was. */
  kill(downMs: number): void {
    this.back = this.back.then(async () => {
      const { port } = this.node;
      await this.node.stop('SIGKILL');
      await wait(downMs);
      this.node = await ChildNode.start([
        '--port',
        String(port),
        '--data',
        join(this.#folder, this.name),
        ...FLAGS,
      ]);
    });
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
  }
}

/**
 * @param kills how many
 * @param tell called now and then with what has happened so far
 * @throws AssertionError when a promise was not kept
 */
export async function chaos(
  { random }: Seeded,
  kills: number,
  tell: (line: string) => void = () => undefined,
): Promise<ChaosOutcome> {
  const folder = await mkdtemp(join(tmpdir(), 'psyncd-chaos-'));
  const places: Place[] = [];
  try {
    for (let index = 0; index < NODES; index += 1) places.push(await Place.start(folder, `node${index}`));
    return await run(places, random, kills, tell);
  } catch (error) {
    for (const { name, node } of places)
      process.stderr.write(`--- log of ${name} ${node.url}\n${node.log}\n`);
    throw error;
  } finally {
    await Promise.all(places.map((place) => place.end()));
    await rm(folder, { recursive: true, force: true });
  }
}

async function run(
  places: readonly Place[],
  random: () => number,
  kills: number,
  tell: (line: string) => void,
): Promise<ChaosOutcome> {
  const pick = (): Place => places[Math.floor(random() * places.length)] as Place;
  let leader = places[0] as Place;
  await follow(places, leader, true);
  const writers = Array.from(
    { length: WRITERS },
    (_, index) => new Writer(`writer/${index}`, () => leader.node.url),
  );
  const actions: Record<string, number> = {};
  const did = (what: string): void => {
    actions[what] = (actions[what] ?? 0) + 1;
  };
  while ((actions.kill ?? 0) < kills) {
    // Nobody is hurt again before it is back: otherwise all would be down most of the time.
    await Promise.all(places.map(({ back }) => back));
    await wait(100 + random() * 400);
    const chance = random();
    if (chance < 0.45) {
      pick().kill(random() * MAX_DOWN_MS);
      did('kill');
      if ((actions.kill ?? 0) % 20 === 0) tell(summary(actions, writers));
    } else if (chance < 0.6) {
      pick().freeze(random() * MAX_DOWN_MS);
      did('stop');
    } else if (chance < 0.85) {
      const { proxy } = pick();
      proxy.cut();
      await wait(random() * 200);
      proxy.restore();
      did('cut');
    } else {
      const next = pick();
      await Promise.all([leader.back, next.back]);
      if (next === leader) continue;
      const handed = chance < 0.93 && (await handOver(leader, next));
      if (!handed) await next.node.client.promote().catch(() => undefined);
      did(handed ? 'hand-over' : 'promotion');
      leader = next;
      await follow(places, leader, random() < 0.5);
    }
  }
  await Promise.all(places.map(({ back }) => back));
  await Promise.all(writers.map((writer) => writer.stop()));
  await settle(places, leader);
  const leftBehind = await judge(leader.node, writers);
  const answered = writers.reduce((sum, writer) => sum + writer.answered.length, 0);
  tell(`${summary(actions, writers)}; ${leftBehind} of the answered writes were left behind by promotions`);
  return { kills, actions, answered, leftBehind };
}

async function handOver(from: Place, to: Place): Promise<boolean> {
  return from.node.client.failover(to.node.wsUrl, 2_000).then(
    () => true,
    () => false,
  );
}

/** Points the others at the leader, one of them through another one if it is to be a chain. */
async function follow(places: readonly Place[], leader: Place, chained: boolean): Promise<void> {
  const others = places.filter((place) => place !== leader);
  for (const [index, place] of others.entries()) {
    const middle = others[0] as Place;
    const above = chained && index === others.length - 1 ? middle : leader;
    // One that is down is told when it is back: it would be promoted later with what it had when it was left alone.
    await until(`${place.name} is told whom to follow`, async () => {
      await place.back;
      await place.node.client.replicaOf(above.proxy.wsUrl);
      return true;
    });
  }
}

/** Heals everything, and waits until all nodes have the same position and hold the same. */
async function settle(places: readonly Place[], leader: Place): Promise<void> {
  for (const { proxy } of places) proxy.restore();
  await until('the leader is the master', async () => {
    const { role } = await leader.node.client.replication();
    if (role === 'replica') await leader.node.client.promote();
    return role === 'master';
  });
  for (const place of places) {
    if (place === leader) continue;
    await until(`${place.name} follows the leader`, async () => {
      await place.node.client.replicaOf(leader.proxy.wsUrl);
      return true;
    });
  }
  await leader.node.client.set('the', 'end');
  await until('all nodes have the same position', async () => {
    const states = await Promise.all(places.map(({ node }) => node.client.replication()));
    return new Set(states.map(({ position }) => position)).size === 1;
  });
  const digests = await Promise.all(places.map(({ node }) => node.client.digest()));
  for (const digest of digests) assert.deepEqual(digest, digests[0]);
}

/** @returns how many answered writes the last master's history does not share */
async function judge(master: ChildNode, writers: readonly Writer[]): Promise<number> {
  const history = historyOf(await master.client.replication());
  let leftBehind = 0;
  for (const { key, answered, attempted } of writers) {
    const bytes = await master.client.get(key);
    const found = bytes === null ? 0 : Number(Buffer.from(bytes).toString('utf8'));
    const shared = answered.filter(({ position }) => {
      const parsed = parsePosition(position);
      return parsed !== null && standing(history, parsed) === 'shared';
    });
    leftBehind += answered.length - shared.length;
    const newest = shared.reduce((most, { value }) => Math.max(most, value), 0);
    assert.ok(
      found >= newest && found <= attempted,
      `${key} is ${found}; ${newest} was answered at a position that the master's history has, ${attempted} was the last`,
    );
  }
  return leftBehind;
}

function historyOf({ runId, lineage }: ReplicationAnswer): History {
  return { runId, lineage } as unknown as History;
}

function summary(actions: Readonly<Record<string, number>>, writers: readonly Writer[]): string {
  const answered = writers.reduce((sum, writer) => sum + writer.answered.length, 0);
  return `${Object.entries(actions)
    .map(([what, count]) => `${count} ${what}s`)
    .join(', ')}; ${answered} writes answered`;
}
