/**
 * Real nodes that are killed, stopped, cut off, promoted and handed over at random, under writers. At the end everything
 * is healed, and then: all nodes hold the same, and every write that was answered is there, or was superseded, or is past
 * what the last master's history shares with the one that it was written to (a replica was promoted that lacked it).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Seeded } from '../support/random.ts';
import { Place } from './place.ts';
import { follow, judge, settle } from './settle.ts';
import { Writer } from './writer.ts';

const NODES = 4;
const WRITERS = 4;
/** A killed node comes back after so long at most; a stopped one goes on. */
const MAX_DOWN_MS = 400;

export interface ChaosOutcome {
  readonly kills: number;
  readonly actions: Readonly<Record<string, number>>;
  readonly answered: number;
  /** Answered writes that no survivor has to have: they were written to a history that was left behind. */
  readonly leftBehind: number;
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
  return withPlaces(NODES, (places) => run(places, random, kills, tell));
}

/** Starts nodes in a folder of their own; when the work is done they are gone, and when it fails their logs are printed. */
export async function withPlaces<T>(
  count: number,
  work: (places: readonly Place[], folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'psyncd-chaos-'));
  const places: Place[] = [];
  try {
    for (let index = 0; index < count; index += 1) places.push(await Place.start(folder, `node${index}`));
    return await work(places, folder);
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

function summary(actions: Readonly<Record<string, number>>, writers: readonly Writer[]): string {
  const answered = writers.reduce((sum, writer) => sum + writer.answered.length, 0);
  return `${Object.entries(actions)
    .map(([what, count]) => `${count} ${what}s`)
    .join(', ')}; ${answered} writes answered`;
}
