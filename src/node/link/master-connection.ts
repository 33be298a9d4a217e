/**
 * The socket to the master: dialled, watched for silence, and read with back-pressure.
 *
 * Owns: whether the connection is over, and whether this node reads from it. While it does not read it cannot hear the master, so
 * that silence does not count.
 */
import { array } from '../../stream/encoder.ts';
import { GETACK, GETFACK, type LinkTimes, type ToldLag, toldLag } from '../link-times.ts';
import { Liveness } from '../liveness.ts';
import { showable } from '../ports/peer-words.ts';
import type { Dial, SocketEvents, StreamSocket } from '../ports/stream-socket.ts';
import type { World } from '../ports/world.ts';
import { attempt, type Owner, owned, ownedSocketEvents } from '../unattended.ts';
import type { AttemptEnd } from './link-context.ts';

interface MasterConnectionParts {
  readonly world: World;
  readonly dial: Dial;
  /** The master, `ws://HOST:PORT`. */
  readonly url: string;
  readonly times: LinkTimes;
  opened(): void;
  /** Bytes have come; they never change. */
  received(bytes: Buffer): void;
  /** The master asks for an acknowledgement at once. */
  ackWanted(): void;
  /** The master wants an acknowledgement at once, and another one when what has arrived is on the disk. */
  durabilityWanted(): void;
  /** The master tells how far this node is behind. */
  lagTold(lag: ToldLag): void;
  closed(code: number, reason: string): void;
  /** The master was silent for too long, and the connection was cut. */
  silent(silentMs: number): void;
  /** Gets the errors that nobody expects. */
  readonly mistaken: Owner;
}

export class MasterConnection {
  readonly #parts: MasterConnectionParts;
  readonly #socket: StreamSocket;
  readonly #liveness: Liveness;
  #isOver = false;
  #isPaused = false;

  /** Dials. The parts hear nothing before the constructor is done. */
  constructor(parts: MasterConnectionParts) {
    this.#parts = parts;
    this.#socket = this.#dial();
    this.#liveness = new Liveness({
      world: parts.world,
      times: parts.times,
      socket: this.#socket,
      isDeaf: () => this.#isPaused,
      silent: (silentMs) => {
        this.#socket.terminate();
        parts.silent(silentMs);
      },
    });
  }

  /** Name of the master, for people. */
  get peer(): string {
    return this.#socket.peer;
  }

  /** Milliseconds since this node last heard of the master. */
  get silentMs(): number {
    return this.#liveness.silentMs;
  }

  /** Whether this node does not read what the master sends, because the overlay is full. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Whether the connection is gone, or given up. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** The connection is gone, or given up: the parts hear nothing more. */
  end(): void {
    this.#isOver = true;
    this.#liveness.stop();
  }

  /** @returns a token that the master was not shown yet, once; null: there is none */
  newToken(): string | null {
    return this.#socket.newToken?.() ?? null;
  }

  /**
   * @param end how the connection ended, maybe in words of the master
   * @returns the same in words that others may see (`showable`). If the master refuses whom it does not know, they say also what this node
   *   shows to it
   */
  shown(end: AttemptEnd): AttemptEnd {
    const { credentials = null } = this.#socket;
    const words = this.#socket.showable?.(end.detail) ?? showable(end.detail);
    const isAbout = end.kind === 'unauthorized' && credentials !== null;
    return { ...end, detail: isAbout ? `${words}; ${credentials}` : words };
  }

  /** @returns the URL that the master announces; null: it announces none, or repeats a token that it was shown */
  urlOf(announced: string | null): string | null {
    return announced === null || this.#socket.holdsShown?.(announced) === true ? null : announced;
  }

  /** Sends a command. @param words the command and its arguments */
  send(words: readonly string[]): void {
    this.#socket.send(Buffer.from(array(words), 'utf8'));
  }

  /** Says good-bye to the master. */
  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  /** Cuts the connection, whatever state the socket is in. */
  terminate(): void {
    attempt(
      () => this.#socket.terminate(),
      () => undefined,
    );
  }

  /** Stops reading until `resume`. */
  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#liveness.heard();
    this.#socket.resume();
  }

  /** Stops reading until `beginTurn`: the event loop has enough to do in this turn. */
  endTurn(): void {
    this.#socket.pause();
  }

  /** Reads again after `endTurn`, unless `pause` was called. */
  beginTurn(): void {
    if (!this.#isPaused) this.#socket.resume();
  }

  #dial(): StreamSocket {
    const { dial, url, mistaken } = this.#parts;
    const events: SocketEvents = {
      message: (bytes) => this.#hear(() => this.#parts.received(bytes)),
      alive: () => this.#liveness.heard(),
      pinged: (text) =>
        this.#hear(() => {
          if (text === GETACK) this.#parts.ackWanted();
          else if (text === GETFACK) this.#parts.durabilityWanted();
          const lag = toldLag(text);
          if (lag !== null) this.#parts.lagTold(lag);
        }),
      closed: (code, reason) => {
        if (!this.#isOver) this.#parts.closed(code, reason);
      },
    };
    const opened = owned(() => this.#hear(() => this.#parts.opened()), mistaken);
    return dial(url, { ...ownedSocketEvents(events, mistaken), opened });
  }

  #hear(report: () => void): void {
    if (this.#isOver) return;
    this.#liveness.heard();
    report();
  }
}
