/**
 * Makes connections whose reads are costly take turns.
 *
 * Node reads up to 64 KiB of a connection at a time, up to thirty-two times in a row, and parses each piece in one go.
 * Such a piece can hold ten thousand chunks of one byte or a thousand requests, and take ten milliseconds or more. Node
 * cannot parse smaller portions, but the server can pause a connection after each read. So after a costly read, the
 * connection waits for its turn, and one turn of the event loop has only as many reads as fit in.
 *
 * Node resumes a connection by itself, for example after each complete request, so one `pause()` does not last. This
 * module pauses a waiting connection again until its turn.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { World } from '../../node/ports/world.ts';
import { type Loop, SharedTurn, TURN_MS } from '../../node/turns.ts';
import { Closings } from './closings.ts';

/** Time above which a read is costly, in milliseconds: the connection then waits for its turn. */
export const COSTLY_READ_MS = 1;
/** A new connection that has sent fewer bytes than this cannot have been costly yet. */
const CHEAP_BYTES = 8 * 1024;
/**
 * A connection's first costly read cannot be foreseen. When such reads have taken this long in one turn of the event
 * loop, in milliseconds, all other connections wait for the next turn.
 */
export const SURPRISES_MS = 50;
/**
 * Time without an answer, in milliseconds, after which a held connection is read all the same: only by reading does the node learn
 * that a client has gone. So the places of waiting requests are free a second after their client has left.
 */
export const GONE_LOOK_MS = 1_000;
/** Number of such reads without an answer. Each may bring 64 KiB of further requests from a client that has not gone. */
const MAX_LOOKS = 8;

interface Read {
  readonly socket: Socket;
  /** Whether the connection stays paused until its turn, even if Node resumes it. */
  isHeld: boolean;
  /** Whether Node wanted to resume the connection while it was held. */
  isWanted: boolean;
  /** Whether the connection is closed, or no longer speaks HTTP. */
  isClosed: boolean;
  /** Time at which Node began to parse the last read. */
  startedAt: number;
  /** Duration of the last read; if unknown, the length of a whole turn. */
  costMs: number;
  /** The answers to the last two requests that had to wait since the last read; the last request may be incomplete. */
  pending: ServerResponse[];
  /** How often the connection was read without an answer, since the last one. */
  looks: number;
  /** Cancels the next such read. */
  cancelLook: () => void;
  /** Removes the listeners. */
  readonly stop: () => void;
}

export class ReadTurns {
  readonly #loop: Loop & Pick<World, 'after'>;
  readonly #reads = new WeakMap<Socket, Read>();
  /** Waiting connections in the order of their turns. */
  readonly #waiting = new Set<Read>();
  /** Connections that have not been costly yet. */
  readonly #others = new Set<Socket>();
  readonly #surprises: SharedTurn;
  readonly #closings: Closings;

  constructor(loop: Loop & Pick<World, 'after'>) {
    this.#loop = loop;
    this.#surprises = new SharedTurn(loop, SURPRISES_MS);
    this.#closings = new Closings(loop);
  }

  /** Registers a new connection. */
  opened(socket: Socket): void {
    this.#others.add(socket);
    socket.once('close', () => this.#others.delete(socket));
  }

  /**
   * Measures the reads of the connection from now on. Called while Node parses what it has read.
   * @param response to a request that cannot start yet: the connection is not read before it and the earlier ones are
   * answered; null: the request has a body in chunks
   */
  watch(socket: Socket, response: ServerResponse | null): void {
    const read = this.#reads.get(socket) ?? this.#begin(socket);
    if (response !== null) read.pending = [...read.pending.slice(-1), response];
  }

  /** Stops measuring a connection that no longer speaks HTTP. */
  forget(socket: Socket): void {
    this.#others.delete(socket);
    const read = this.#reads.get(socket);
    if (read === undefined) return;
    read.stop();
    this.#drop(read);
    if (!read.isHeld) return;
    read.isHeld = false;
    // Node does not resume reading by itself, because its stream still considers the last read unfinished.
    socket._read(0);
  }

  #begin(socket: Socket): Read {
    this.#others.delete(socket);
    if (this.#surprises.isOver) this.#holdOthers();
    const parsing = (): void => {
      read.startedAt = this.#loop.monotonic();
    };
    const parsed = (): void => this.#parsed(read);
    const resumed = (): void => {
      if (!read.isHeld) return;
      read.isWanted = true;
      socket.pause();
    };
    const closed = (): void => this.#drop(read);
    const noClosing = this.#closings.take(socket);
    const read: Read = {
      socket,
      isHeld: false,
      isWanted: false,
      isClosed: false,
      startedAt: 0,
      costMs: TURN_MS,
      pending: [],
      looks: 0,
      cancelLook: () => undefined,
      stop: () => {
        noClosing();
        socket.off('data', parsing).off('data', parsed).off('resume', resumed).off('close', closed);
      },
    };
    this.#reads.set(socket, read);
    this.#hold(read);
    // With our `data` listener Node delivers data through events and drops its own listeners for pausing; they are
    // put back.
    const kept = (['pause', 'resume'] as const).map((name) => [name, socket.listeners(name)] as const);
    socket.prependListener('data', parsing).on('data', parsed);
    for (const [name, listeners] of kept) {
      const left = socket.listeners(name);
      for (const each of listeners) if (!left.includes(each)) socket.on(name, each as () => void);
    }
    socket.on('resume', resumed).once('close', closed);
    socket.pause();
    this.#loop.soon(() => {
      if (socket.bytesRead < CHEAP_BYTES) read.costMs = 0;
      this.#wait(read);
    });
    return read;
  }

  /** Makes the other connections wait for the next turn of the event loop. */
  #holdOthers(): void {
    const known: Socket[] = [];
    const silent: Socket[] = [];
    for (const socket of this.#others) {
      if (socket.isPaused()) continue;
      socket.pause();
      (socket.bytesRead > 0 ? known : silent).push(socket);
    }
    if (known.length + silent.length === 0) return;
    // Reads in this order: a connection that has sent nothing yet may be the next costly one.
    this.#loop.soon(() => {
      for (const socket of [...known, ...silent]) socket.resume();
    });
  }

  /** Called when Node has parsed what it has read. */
  #parsed(read: Read): void {
    // The connection has just become a WebSocket.
    if (read.isClosed) return;
    read.costMs = this.#loop.monotonic() - read.startedAt;
    if (read.isHeld || (read.costMs < COSTLY_READ_MS && read.pending.length === 0)) return;
    this.#hold(read);
    this.#wait(read);
  }

  #hold(read: Read): void {
    read.isHeld = true;
    read.isWanted = !read.socket.isPaused();
    read.socket.pause();
  }

  /** Makes the connection wait for its turn, after its unfinished answers. */
  #wait(read: Read): void {
    const [last = null, before = null] = read.pending.reverse();
    read.pending = [];
    // An incomplete request still needs its remaining bytes, so wait only for the one before.
    const answer = last?.req.complete === false ? before : last;
    if (answer === null || answer.closed) {
      this.#answered(read);
      return;
    }
    answer.once('close', () => this.#answered(read));
    if (read.looks === MAX_LOOKS) return;
    read.looks += 1;
    read.cancelLook();
    read.cancelLook = this.#loop.after(GONE_LOOK_MS, () => this.#join(read));
  }

  #answered(read: Read): void {
    read.looks = 0;
    read.cancelLook();
    this.#join(read);
  }

  #join(read: Read): void {
    if (read.isClosed) return;
    if (this.#waiting.size === 0) this.#loop.soon(() => this.#run());
    this.#waiting.add(read);
  }

  #run(): void {
    let costMs = 0;
    for (const read of this.#waiting) {
      if (costMs > 0 && costMs + read.costMs > TURN_MS) break;
      this.#waiting.delete(read);
      costMs += read.costMs;
      this.#release(read);
    }
    if (this.#waiting.size > 0) this.#loop.soon(() => this.#run());
  }

  #release(read: Read): void {
    if (!read.isHeld) return;
    read.isHeld = false;
    if (read.isWanted) read.socket.resume();
  }

  #drop(read: Read): void {
    read.isClosed = true;
    read.cancelLook();
    this.#waiting.delete(read);
    this.#reads.delete(read.socket);
  }
}
