/**
 * The life of a node with an archive, step by step: it writes, stops, is killed, set back to older files, restored, promoted, and its clock
 * may be wrong. It knows what it had at each time, and the bytes of each run ID.
 */
import { rmSync } from 'node:fs';
import type { TestContext } from 'node:test';
import type { LineageReason } from '../../src/replication/history.ts';
import type { RunId } from '../../src/replication/position.ts';
import { runId } from './arbitraries.ts';
import { AWAY, Stage } from './archiver-stage.ts';
import { BEGUN_AT, type State } from './archives.ts';
import type { Seeded } from './random.ts';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
/** Run IDs after the first one. */
const IDS = 'bcdef0123456789';

/** What a restore to times since a moment may give. */
interface Past {
  /** Milliseconds since 1970, by a clock that is right. */
  readonly from: number;
  /** Nobody can tell which of them is meant. */
  readonly had: readonly State[];
}

export class LivedNode {
  readonly stage: Stage;
  readonly past: Past[] = [];
  /** The states of each run ID that the node has had, from the first byte on. */
  readonly lines = new Map<RunId, readonly State[]>();
  readonly #random: () => number;
  readonly #log: string[] = [];
  /** How many commits the present run ID has. */
  #own = 0;
  #taken = 0;
  isClockWrong = false;
  /** Whether the archive has lost something. */
  hasLost = false;

  private constructor(stage: Stage, random: () => number) {
    this.stage = stage;
    this.#random = random;
  }

  /** A node that has begun, and has a backup in its archive. */
  static async begun(t: TestContext, random: Seeded): Promise<LivedNode> {
    const node = new LivedNode(await Stage.create(t, random, BEGUN_AT - 60 * 24 * HOUR_MS), random.random);
    node.#had();
    await node.#start();
    return node;
  }

  /** What has happened, for the message of a failed test. */
  get story(): string {
    return `seed ${this.stage.seed}: ${this.#log.join('; ')}`;
  }

  get now(): number {
    return this.stage.now;
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** The states of a run ID, from the first byte on. */
  statesOf(run: RunId): readonly State[] {
    return run === this.stage.history.runId ? this.stage.model.states : (this.lines.get(run) ?? []);
  }

  /** What restores to a time may give. */
  hadAt(time: number): readonly State[] {
    return this.past.findLast(({ from }) => from <= time)?.had ?? [];
  }

  /** Something happens, and everything is archived then. */
  async step(): Promise<void> {
    const { stage } = this;
    this.write(1 + this.below(8));
    if (this.below(3) > 0) await stage.archived();
    this.write(1 + this.below(4));
    this.#waits(this.below(3) === 0 ? 5 * HOUR_MS : MINUTE_MS);
    await this.#happens();
    await stage.archived();
  }

  async #happens(): Promise<void> {
    const { stage } = this;
    const kind = this.below(6);
    if (kind === 0) {
      await stage.stop();
      this.#waits(MINUTE_MS);
      await this.#start();
      this.#say('was killed');
    } else if (kind === 1) this.#renames('promoted');
    else if (kind === 2) await this.#restored();
    else if (kind < 5) await this.#setBack();
    else await stage.makeBase();
  }

  /** The clock jumps ahead, or is set right. */
  jump(): void {
    const { stage } = this;
    const ms = stage.skewMs > 0 ? -stage.skewMs : (1 + this.below(5)) * HOUR_MS;
    stage.waited += ms;
    stage.skewMs += ms;
    this.isClockWrong = true;
    this.#say(`the clock jumps by ${ms / HOUR_MS} h`);
  }

  /** Somebody deletes a segment of the archive. */
  loses(): void {
    const { archive } = this.stage;
    const segments = this.stage.names();
    const lost = segments[this.below(segments.length)];
    if (lost === undefined) return;
    rmSync(archive.path(lost.name));
    this.hasLost = true;
    this.#say(`the archive loses ${lost.runId[0]} ${lost.after}-${lost.end}`);
  }

  write(count: number): void {
    for (let left = count; left > 0; left -= 1) {
      this.#waits(this.below(4) === 0 ? MINUTE_MS : SECOND_MS);
      this.stage.write(1);
      this.#own += 1;
      this.#had();
    }
    this.#say(`wrote to ${this.stage.offset}`);
  }

  async #start(): Promise<void> {
    const { stage } = this;
    stage.began = stage.offset;
    await stage.start();
  }

  /** The node gets its files of before the last commits, and hears of that from its archive. */
  async #setBack(): Promise<void> {
    const { stage } = this;
    const count = 1 + this.below(4);
    if (count >= this.#own) return;
    await stage.archived();
    await stage.stop();
    this.#keepLine();
    const lost = stage.model.last;
    stage.waited += stage.model.last.ms;
    stage.model.rewind(count);
    stage.waited -= stage.model.last.ms;
    const ends = stage.names().map((segment): number => segment.end);
    const held = Math.max(0, ...ends.filter((each) => each <= stage.offset));
    stage.dropped = Math.min(stage.dropped, held);
    stage.outdatedAs = this.#nextRun();
    stage.began = stage.offset;
    this.#say(`set back to ${stage.offset}`);
    if (this.below(3) === 0) {
      stage.broken = AWAY;
      stage.begin();
      for (let left = 1 + this.below(3); left > 0; left -= 1) {
        this.#waits(MINUTE_MS);
        stage.write(1);
        this.past.push({ from: this.#right, had: [lost, stage.model.last] });
      }
      this.#waits(MINUTE_MS);
      stage.broken = null;
    } else stage.begin();
    await stage.archived();
    this.#own = 0;
    this.#had();
  }

  /** The node is restored to a state of before. */
  async #restored(): Promise<void> {
    const { stage } = this;
    const count = 1 + this.below(6);
    if (count >= this.#own) return;
    await stage.archived();
    await stage.stop();
    this.#keepLine();
    stage.waited += stage.model.last.ms;
    stage.model.rewind(count);
    stage.waited -= stage.model.last.ms;
    stage.dropped = stage.offset;
    this.#renames('restored');
    stage.renamedAt = null;
    await this.#start();
  }

  #renames(reason: LineageReason): void {
    this.#keepLine();
    this.stage.rename(this.#nextRun(), this.stage.offset, reason);
    this.#own = 0;
    this.#had();
    this.#say(`${reason} at ${this.stage.offset}`);
  }

  #keepLine(): void {
    const { history, model } = this.stage;
    if (!this.lines.has(history.runId)) this.lines.set(history.runId, [...model.states]);
  }

  #nextRun(): RunId {
    this.#taken += 1;
    return runId(IDS[this.#taken - 1] as string);
  }

  get #right(): number {
    return this.stage.now - this.stage.skewMs;
  }

  #had(): void {
    this.past.push({ from: this.#right, had: [this.stage.model.last] });
  }

  #waits(most: number): void {
    this.stage.waited += 1 + this.below(most);
  }

  #say(text: string): void {
    this.#log.push(`${this.stage.history.runId[0]} ${text}`);
  }
}
