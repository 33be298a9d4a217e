/**
 * Watches over the other end of a connection: whether it says anything, and whether it takes the bytes that it is given.
 *
 * Every duration here is of the monotonic clock, in whole milliseconds.
 */
import { msSince } from './elapsed.ts';
import type { LinkTimes } from './link-times.ts';
import type { StreamSocket } from './ports/stream-socket.ts';
import type { World } from './ports/world.ts';

type Clock = Pick<World, 'monotonic'>;

/** Knows when this node last heard anything of its peer. */
export class SilenceWatch {
  readonly #clock: Clock;
  #heardAt: number;

  /** Begins as if the peer had just said something. */
  constructor(clock: Clock) {
    this.#clock = clock;
    this.#heardAt = clock.monotonic();
  }

  /** Notes that something has just come from the peer. */
  heard(): void {
    this.#heardAt = this.#clock.monotonic();
  }

  /** Moment of the monotonic clock at which this node last heard of the peer. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** Milliseconds since this node last heard of the peer. */
  get silentMs(): number {
    return msSince(this.#clock, this.#heardAt);
  }
}

/** Knows for how long a peer has taken nothing of the bytes that its socket was given. */
export class TakenWatch {
  readonly #clock: Clock;
  #last: { readonly bytes: number; readonly at: number } | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Compares with the call before; a peer whose socket is empty has taken everything.
   * @param given bytes that the socket was given so far
   * @param buffered bytes of them that the socket still has
   * @returns for how many milliseconds the peer has taken nothing, as far as the calls have shown
   */
  stuckMs(given: number, buffered: number): number {
    const bytes = given - buffered;
    if (this.#last === null || buffered === 0 || bytes !== this.#last.bytes) {
      this.#last = { bytes, at: this.#clock.monotonic() };
    }
    return msSince(this.#clock, this.#last.at);
  }
}

interface LivenessParts {
  readonly world: World;
  readonly times: LinkTimes;
  readonly socket: Pick<StreamSocket, 'ping'>;
  /** @returns the text of the ping that is due; absent: pings have none */
  text?(): string;
  /** Milliseconds after which the owner wants to look at the connection, if that is earlier than the next ping. */
  lookMs?(): number;
  /** Whether this node does not read the socket now: then it cannot hear the peer, and the silence does not count. */
  isDeaf?(): boolean;
  /** Looks at the rest of the connection before each ping. The owner calls `stop` if it ends the connection. */
  look?(): void;
  /** The peer has said nothing for longer than `timeoutMs`. Called once; nothing follows. */
  silent(silentMs: number): void;
}

/** Pings the peer of one replication connection, and reports if the peer falls silent. */
export class Liveness {
  readonly #parts: LivenessParts;
  readonly #silence: SilenceWatch;
  #cancel: () => void = () => undefined;
  #stopped = false;

  constructor(parts: LivenessParts) {
    this.#parts = parts;
    this.#silence = new SilenceWatch(parts.world);
    this.#schedule();
  }

  /** Notes that something has just come from the peer. */
  heard(): void {
    this.#silence.heard();
  }

  /** Moment of the monotonic clock at which this node last heard of the peer. */
  get heardAt(): number {
    return this.#silence.heardAt;
  }

  /** Milliseconds since this node last heard of the peer. */
  get silentMs(): number {
    return this.#silence.silentMs;
  }

  /** Ends the watch, with the connection. */
  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #schedule(): void {
    const { times, world, lookMs } = this.#parts;
    const intervalMs = Math.min(
      times.pingIntervalMs,
      times.timeoutMs / 2,
      lookMs?.() ?? Number.POSITIVE_INFINITY,
    );
    this.#cancel = world.after(intervalMs, () => this.#tick());
  }

  #tick(): void {
    const { times, socket, isDeaf, look, silent } = this.#parts;
    if (isDeaf?.() === true) this.heard();
    const { silentMs } = this;
    if (silentMs > times.timeoutMs) {
      silent(silentMs);
      return;
    }
    look?.();
    if (this.#stopped) return;
    socket.ping(this.#parts.text?.());
    this.#schedule();
  }
}
