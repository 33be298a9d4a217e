/** The connection of a follower: what `ws/follower-socket.ts` promises, late and cut anywhere. */
import type { Framing } from '../../src/node/feed/messages/message.ts';
import type { FollowerEvents, FollowerSocket } from '../../src/node/ports/follower-socket.ts';
import type { Chance } from './chance.ts';
import type { EventLoop } from './event-loop.ts';
import type { Machine } from './machine.ts';
import type { Process } from './process.ts';

/** A connection that delays, holds back, and loses what is on its way when it is cut. */
export class Connection implements FollowerSocket {
  /** Where the node is; null: there is none. */
  readonly machine: Machine | null;
  readonly process: Process;
  readonly peer = 'follower';
  readonly client = 'follower';
  readonly answersPings = false;
  readonly transport = 'ndjson';
  readonly framing: Framing = (json) => Buffer.from(`${json}\n`, 'utf8');
  events: FollowerEvents | null = null;
  readonly #loop: EventLoop;
  readonly #chance: Chance;
  readonly #listener: { arrived(event: unknown): void; ended(connection: Connection): void };
  readonly #gone = new AbortController();
  /** How much a byte in the socket counts: the node's limits are larger than a run's writes. */
  readonly #weight: number;
  readonly #delayMs: number;
  readonly #underWay: (() => void)[] = [];
  #waiting = 0;
  #arrivesAt = 0;

  constructor(
    machine: Machine | null,
    process: Process,
    loop: EventLoop,
    chance: Chance,
    listener: { arrived(event: unknown): void; ended(connection: Connection): void },
  ) {
    this.machine = machine;
    this.process = process;
    this.#loop = loop;
    this.#chance = chance;
    this.#listener = listener;
    this.#weight = chance.of([1, 1, 500, 5_000]);
    this.#delayMs = chance.of([1, 20, 200]);
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  get bufferedBytes(): number {
    return this.#waiting * this.#weight;
  }

  send(frames: Buffer): void {
    if (!this.process.alive || this.#gone.signal.aborted) return;
    this.#waiting += frames.length;
    this.#later(() => {
      this.#waiting -= frames.length;
      for (const line of frames.toString('utf8').trimEnd().split('\n')) {
        if (!this.#gone.signal.aborted) this.#listener.arrived(JSON.parse(line));
      }
      if (this.#waiting === 0 && this.process.alive && !this.#gone.signal.aborted) this.events?.drained();
    });
  }

  ping(): void {
    // Nobody answers.
  }

  close(): void {
    this.#later(() => this.#listener.ended(this));
  }

  terminate(): void {
    this.#listener.ended(this);
  }

  /** Nothing more arrives, and what is on its way is lost. */
  cut(): void {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort();
    if (this.process.alive) this.events?.closed();
  }

  /** In order: whichever is due, the first one arrives. */
  #later(arrived: () => void): void {
    this.#underWay.push(arrived);
    this.#arrivesAt = Math.max(this.#arrivesAt, this.#loop.now + this.#chance.delay(this.#delayMs));
    this.#loop.at(this.#arrivesAt - this.#loop.now, () => {
      const next = this.#underWay.shift();
      if (!this.#gone.signal.aborted) next?.();
    });
  }
}
