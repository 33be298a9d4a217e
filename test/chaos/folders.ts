/**
 * Real nodes whose folders are copied, restored, rolled back in place and cloned at random, under writers, with kills, cuts
 * and changes of the master in between. After each step and at the end of each round: no two nodes at one position hold
 * different data. At the end of a round all follow one node, and every answered write is there, unless it was lost by a
 * roll-back or left behind by a change of the master.
 *
 * A copy of a running node is made while all its threads stand still: what a snapshot of its volume would hold.
 */
import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { until } from '../../src/cli/until.ts';
import type { ReplicationAnswer } from '../../src/client/rest.ts';
import type { Position } from '../../src/replication/position.ts';
import type { Seeded } from '../support/random.ts';
import { withPlaces } from './chaos.ts';
import { Divergence } from './divergence.ts';
import { type Copy, FolderCopies, overwrite, putOver, replaceFolder } from './folder-copies.ts';
import type { Place } from './place.ts';
import { follow, judge, settle } from './settle.ts';
import { Writer } from './writer.ts';

const NODES = 4;
const WRITERS = 3;
const STEPS = 4;
const MAX_DOWN_MS = 200;
/** So many of the last steps are told when a promise is broken. */
const LAST = 40;
const PAUSE_MS = 150;

export interface FoldersOutcome {
  readonly rounds: number;
  /** How often what was done, and what nodes said of it. */
  readonly counts: Readonly<Record<string, number>>;
  readonly answered: number;
}

/** @throws AssertionError when a promise was not kept */
export async function folders(
  { random }: Seeded,
  rounds: number,
  tell: (line: string) => void = () => undefined,
): Promise<FoldersOutcome> {
  return withPlaces(NODES, async (places, folder) => {
    const run = new Run(places, folder, random);
    try {
      await run.begin();
      for (let round = 1; round <= rounds; round += 1) {
        await run.round(STEPS);
        if (round % 10 === 0) tell(`${round} rounds: ${run.summary}`);
      }
    } catch (error) {
      tell(run.last);
      throw error;
    } finally {
      await run.end();
    }
    tell(`${rounds} rounds: ${run.summary}`);
    return { rounds, counts: run.counts, answered: run.answered };
  });
}

class Run {
  readonly counts: Record<string, number> = {};
  readonly #places: readonly Place[];
  readonly #random: () => number;
  readonly #writers: Writer[] = [];
  readonly #copies: FolderCopies;
  readonly #divergence: Divergence;
  /** What was done last. */
  #last: readonly string[] = [];
  #leader: Place;

  constructor(places: readonly Place[], folder: string, random: () => number) {
    this.#places = places;
    const count = (what: string): void => this.#count(what);
    this.#copies = new FolderCopies(folder, random, count);
    this.#divergence = new Divergence(count);
    this.#random = random;
    this.#leader = places[0] as Place;
  }

  get answered(): number {
    return this.#writers.reduce((sum, writer) => sum + writer.answered.length, 0);
  }

  get summary(): string {
    const counts = Object.entries(this.counts).map(([what, count]) => `${count} ${what}`);
    return `${counts.join(', ')}; ${this.answered} writes answered`;
  }

  /** What was done last, in this order. */
  get last(): string {
    return this.#last.join('\n');
  }

  async begin(): Promise<void> {
    await follow(this.#places, this.#leader, true);
    // Of an empty node no copy is made: its replicas would refuse to become empty.
    await settle(this.#places, this.#leader);
    for (let index = 0; index < WRITERS; index += 1) {
      let sent = index;
      // Each writes mostly to the node that is meant to be the master, and now and then to another one.
      const nodeUrl = (): string => {
        sent += 1;
        const place = sent % 8 === 0 ? this.#places[(sent / 8) % this.#places.length] : this.#leader;
        return (place as Place).node.url;
      };
      this.#writers.push(new Writer(`writer/${index}`, nodeUrl));
    }
  }

  async round(steps: number): Promise<void> {
    for (let step = 0; step < steps; step += 1) {
      await this.#step();
      await wait(this.#random() * PAUSE_MS);
      await this.#divergence.compare(this.#places);
    }
    await Promise.all(this.#places.map(({ back }) => back));
    await Promise.all(this.#writers.map((writer) => writer.pause()));
    await this.#divergence.compare(this.#places);
    if (this.#random() < 0.5) this.#leader = this.#pick();
    await settle(this.#places, this.#leader);
    await judge(this.#leader.node, this.#writers, (each) => this.#divergence.isExcused(each));
    for (const { reason } of (await this.#leader.node.client.replication()).lineage.slice(0, 1)) {
      this.#count(`rounds ended under a history that was ${reason}`);
    }
    for (const writer of this.#writers) writer.resume();
  }

  async end(): Promise<void> {
    await Promise.all(this.#writers.map((writer) => writer.stop()));
  }

  async #step(): Promise<void> {
    const place = this.#pick();
    await place.back;
    const chance = this.#random();
    if (chance < 0.15) {
      this.#count('kills');
      place.kill(this.#random() * MAX_DOWN_MS);
    } else if (chance < 0.25) {
      this.#count('cuts');
      place.proxy.cut();
      await wait(this.#random() * PAUSE_MS);
      place.proxy.restore();
    } else if (chance < 0.45) await this.#copies.make(place);
    else if (chance < 0.6) await this.#restore();
    else if (chance < 0.78) await this.#rollBack();
    else if (chance < 0.88) await this.#clone(place);
    else if (chance < 0.95) await this.#repoint(place);
    else {
      this.#count('promotions');
      await place.node.client.promote().catch(() => undefined);
    }
  }

  /** An older copy takes the place of the folder: the node notices. */
  async #restore(): Promise<void> {
    const copy = this.#copies.any();
    if (copy === null) return;
    const { of: place } = copy;
    await place.back;
    this.#count('restores');
    await this.#down(place);
    await replaceFolder(copy.path, place);
    await place.start();
    await this.#noteCopied(place, 'restored');
  }

  /** Older bytes are written over the files, which stay the same files: nothing but the history hash tells. */
  async #rollBack(): Promise<void> {
    const copy = this.#copies.any();
    if (copy === null) return;
    const { of: place } = copy;
    await Promise.all(this.#places.map(({ back }) => back));
    this.#count('roll-backs in place');
    const replicas = await this.#replicasOf(place);
    if (this.#random() < 0.4) await this.#putBesideWals(copy, place);
    else {
      await this.#down(place);
      await overwrite(copy.path, place.data);
      await place.start();
    }
    const { role, runId, offset } = place.node.ready;
    if (role !== 'master') return;
    this.#divergence.fork({ runId, offset } as Position);
    this.#count('masters rolled back');
    const ahead = replicas.find((each) => each.runId === runId && each.offset > offset);
    if (ahead === undefined || this.#random() < 0.5) return;
    await until(
      `${place.name} learns from a replica at ${ahead.position} that it was rolled back to ${offset}`,
      async () => {
        const { lineage } = await place.node.client.replication();
        return lineage.some((each) => each.runId === runId && each.reason === 'rolled-back');
      },
    );
    this.#count('masters that noticed');
  }

  /**
   * Older files are put over those of a killed node, whose WALs stay where the copy has none. The node takes them if they
   * are one state, and refuses them otherwise; then the copy is put back as it should be.
   */
  async #putBesideWals(copy: Copy, place: Place): Promise<void> {
    this.#count('roll-backs beside WALs');
    await place.node.stop('SIGKILL');
    await putOver(copy.path, place.data);
    try {
      await place.start();
    } catch (error) {
      assert.match((error as Error).message, /is damaged/);
      const isStale = /belongs to another state/.test((error as Error).message);
      this.#count(isStale ? 'refused as stale WALs' : 'refused as damage beside WALs');
      await overwrite(copy.path, place.data);
      await place.start();
    }
  }

  /** Who follows the place and goes on with what it writes. */
  async #replicasOf(place: Place): Promise<readonly ReplicationAnswer[]> {
    const others = this.#places.filter((other) => other !== place);
    const states = await Promise.all(others.map(({ node }) => node.client.replication()));
    return states.filter(({ upstream }) => {
      return upstream?.state === 'streaming' && upstream.url === place.proxy.wsUrl;
    });
  }

  /** Another node begins anew with a copy of this one's folder. */
  async #clone(source: Place): Promise<void> {
    const target = this.#pick();
    if (target === source) return;
    const { path } = await this.#copies.make(source);
    await target.back;
    await this.#down(target);
    await replaceFolder(path, target);
    const chance = this.#random();
    const flags = chance < 0.25 ? ['--replica-of', 'no-one'] : [];
    await target.start(...flags);
    await this.#noteCopied(target, 'cloned');
    this.#count(`clones as ${target.node.ready.role}s`);
    if (chance > 0.6) this.#leader = target;
  }

  /** One node follows another one, whichever that is; refusals are answers too. */
  async #repoint(place: Place): Promise<void> {
    const above = this.#pick();
    if (above === place) return;
    this.#count('re-pointed');
    await Promise.all([above.back, place.back]);
    await place.node.client.replicaOf(above.proxy.wsUrl).catch(() => undefined);
  }

  async #down(place: Place): Promise<void> {
    await place.node.stop(this.#random() < 0.5 ? 'SIGTERM' : 'SIGKILL');
  }

  /** A master that runs on a copy says so. */
  async #noteCopied(place: Place, how: string): Promise<void> {
    const { role, lineage } = await place.node.client.replication();
    if (place.node.ready.role !== 'master' || role !== 'master') return;
    const reason = lineage[0]?.reason;
    assert.ok(
      reason !== undefined && ['copied', 'promoted'].includes(reason),
      `${place.name} was ${how}, and says ${reason}`,
    );
    this.#count(`masters that were ${how} and said ${reason}`);
  }

  #pick(): Place {
    return this.#places[Math.floor(this.#random() * this.#places.length)] as Place;
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
    this.#last = [...this.#last.slice(1 - LAST), what];
  }
}
