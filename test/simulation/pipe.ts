/**
 * One direction of a connection: frames on their way from one socket to the other, in order, late, and cut anywhere.
 *
 *   outbox (the sender counts these bytes) ──the operating system takes them──► flight ──time──► the receiver, unless it
 *                                                                                       has paused, or nothing passes
 *
 * What is in flight is bounded, so a receiver that does not read makes the outbox grow.
 */
import type { Chance } from './chance.ts';
import type { EventLoop } from './event-loop.ts';

export type Frame =
  | { readonly kind: 'data'; readonly bytes: Buffer }
  | { readonly kind: 'ping'; readonly text: string }
  | { readonly kind: 'pong' }
  | { readonly kind: 'close'; readonly code: number; readonly reason: string }
  /** The end without a word: the sender's process is gone. */
  | { readonly kind: 'end' };

interface Waiting {
  readonly frame: Frame;
  readonly taken: () => void;
}

interface Flying {
  readonly frame: Frame;
  readonly arrivesAt: number;
}

export interface PipeSettings {
  /** How long a frame is on its way, on average. */
  latencyMs: number;
  /** So many bytes may be in flight. */
  readonly windowBytes: number;
  /** A data frame arrives in pieces this often. */
  readonly cutOdds: number;
}

/** A slow connection brings so few bytes at a time, and makes a pause after each. */
const SLOW_BYTES = 120;
const SLOW_MS = 150;

export class Pipe {
  readonly #loop: EventLoop;
  readonly #chance: Chance;
  readonly #settings: PipeSettings;
  readonly #deliver: (frame: Frame) => void;
  #outbox: Waiting[] = [];
  #outboxBytes = 0;
  #flight: Flying[] = [];
  #flightBytes = 0;
  #lastArrival = 0;
  #takeDue = false;
  #cancelArrival: (() => void) | null = null;
  #paused = false;
  #stalled = false;
  #slow = false;
  #over = false;

  constructor(loop: EventLoop, chance: Chance, settings: PipeSettings, deliver: (frame: Frame) => void) {
    this.#loop = loop;
    this.#chance = chance;
    this.#settings = settings;
    this.#deliver = deliver;
  }

  /** Bytes that the operating system has not taken yet. */
  get outboxBytes(): number {
    return this.#outboxBytes;
  }

  /** @param taken called when the operating system has it, or never will */
  push(frame: Frame, taken: () => void): void {
    if (this.#over) {
      this.#loop.at(0, taken);
      return;
    }
    this.#outbox.push({ frame, taken });
    this.#outboxBytes += sizeOf(frame);
    this.#takeSoon();
  }

  set paused(paused: boolean) {
    this.#paused = paused;
    if (!paused) this.#schedule();
  }

  /** Nothing passes, and nobody is told. */
  set stalled(stalled: boolean) {
    this.#stalled = stalled;
    if (!stalled) this.#schedule();
  }

  set slow(slow: boolean) {
    this.#slow = slow;
  }

  /** The sender is gone: what the operating system has taken still arrives, and then the end. */
  endAfterFlight(): void {
    if (this.#over) return;
    this.#dropOutbox();
    this.#flight.push({ frame: { kind: 'end' }, arrivesAt: Math.max(this.#lastArrival, this.#loop.now) });
    this.#over = true;
    this.#schedule();
  }

  /** Nothing of it arrives any more. */
  drop(): void {
    this.#dropOutbox();
    this.#over = true;
    this.#flight = [];
    this.#flightBytes = 0;
    this.#cancelArrival?.();
  }

  #dropOutbox(): void {
    for (const { taken } of this.#outbox) this.#loop.at(0, taken);
    this.#outbox = [];
    this.#outboxBytes = 0;
  }

  #takeSoon(): void {
    if (this.#takeDue) return;
    this.#takeDue = true;
    this.#loop.at(0, () => {
      this.#takeDue = false;
      this.#take();
    });
  }

  #take(): void {
    while (this.#flightBytes < this.#settings.windowBytes) {
      const next = this.#outbox.shift();
      if (next === undefined) break;
      const bytes = sizeOf(next.frame);
      this.#outboxBytes -= bytes;
      this.#flightBytes += bytes;
      const arrivesAt = Math.max(
        this.#lastArrival,
        this.#loop.now + this.#chance.delay(this.#settings.latencyMs),
      );
      this.#lastArrival = arrivesAt;
      this.#flight.push({ frame: copyOf(next.frame), arrivesAt });
      this.#loop.at(0, next.taken);
    }
    this.#schedule();
  }

  #schedule(): void {
    const [first] = this.#flight;
    if (this.#cancelArrival !== null || first === undefined || this.#paused || this.#stalled) return;
    this.#cancelArrival = this.#loop.at(first.arrivesAt - this.#loop.now, () => {
      this.#cancelArrival = null;
      if (!this.#paused && !this.#stalled) this.#arrive();
    });
  }

  #arrive(): void {
    const first = this.#flight.shift();
    if (first === undefined) return;
    const frame = this.#cut(this.#joined(first.frame));
    this.#flightBytes -= sizeOf(frame);
    if (this.#slow) {
      const [next] = this.#flight;
      const arrivesAt = this.#loop.now + this.#chance.delay(SLOW_MS);
      if (next !== undefined && next.arrivesAt < arrivesAt) this.#flight[0] = { ...next, arrivesAt };
    }
    this.#deliver(frame);
    if (this.#outbox.length > 0) this.#takeSoon();
    this.#schedule();
  }

  /** With what has arrived right behind it, now and then. */
  #joined(frame: Frame): Frame {
    const [next] = this.#flight;
    if (frame.kind !== 'data' || next?.frame.kind !== 'data' || next.arrivesAt > this.#loop.now) return frame;
    if (this.#chance.odds(0.5)) return frame;
    this.#flight.shift();
    return { kind: 'data', bytes: Buffer.concat([frame.bytes, next.frame.bytes]) };
  }

  /** Or only its first bytes; the rest is next. */
  #cut(frame: Frame): Frame {
    if (frame.kind !== 'data' || frame.bytes.length < 2) return frame;
    const { cutOdds } = this.#settings;
    const most = this.#slow ? Math.min(SLOW_BYTES, frame.bytes.length) : frame.bytes.length;
    if (!this.#slow && !this.#chance.odds(cutOdds)) return frame;
    const length = Math.min(most, this.#chance.between(1, frame.bytes.length));
    if (length === frame.bytes.length) return frame;
    const rest: Frame = { kind: 'data', bytes: frame.bytes.subarray(length) };
    this.#flight.unshift({
      frame: rest,
      arrivesAt: this.#loop.now + this.#chance.delay(this.#settings.latencyMs / 2),
    });
    return { kind: 'data', bytes: frame.bytes.subarray(0, length) };
  }
}

function sizeOf(frame: Frame): number {
  return frame.kind === 'data' ? frame.bytes.length : 0;
}

/** The sender may use its buffer again. */
function copyOf(frame: Frame): Frame {
  return frame.kind === 'data' ? { kind: 'data', bytes: Buffer.from(frame.bytes) } : frame;
}
