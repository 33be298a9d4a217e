/**
 * Connections whose reads cost the event loop much take turns.
 *
 * Node reads up to 64 KiB of a connection at a time, thirty-two times in a row, and parses each piece in one go: that can be ten
 * thousand chunks of one byte, or a thousand requests, and ten milliseconds or more. What is read cannot be parsed in smaller
 * portions, but a connection can be paused behind each read. So a connection whose read took long is read again when its turn
 * comes, and in one turn of the event loop only as many are as fit in.
 *
 * Node resumes a connection of its own accord, behind each complete request for one: `pause()` alone does not last. Here a
 * connection that waits for its turn is paused again until then.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { World } from '../../node/ports.ts';
import { type Loop, SharedTurn, TURN_MS } from '../../node/turns.ts';

/** A read that took longer is costly, in milliseconds: the connection waits for its turn. */
export const COSTLY_READ_MS = 1;
/** A new connection that has brought fewer bytes has not cost much yet. */
const CHEAP_BYTES = 8 * 1024;
/**
 * The first read of a connection that may be costly comes as a surprise. When such reads have taken so long in one turn of the
 * event loop, in milliseconds, all other connections are read in the next one.
 */
export const SURPRISES_MS = 50;
/**
 * A connection whose requests are not answered for so long, in milliseconds, is read all the same: only who reads learns that a
 * client has gone. So the places of reads that wait are free again a second after their client has left.
 */
export const GONE_LOOK_MS = 1_000;
/** It is read so often without an answer: 64 KiB each time, which may be requests of a client that has not gone. */
const MAX_LOOKS = 8;

interface Read {
  readonly socket: Socket;
  /** It is paused until its turn, whoever resumes it. */
  isHeld: boolean;
  /** Somebody would have it read while it is held. */
  isWanted: boolean;
  /** It has gone, or is no HTTP any more. */
  isClosed: boolean;
  /** When Node began to parse the last read. */
  startedAt: number;
  /** How long its last read took; if that is not known, as long as a turn. */
  costMs: number;
  /** The last two answers to requests that had to wait since it was read; the last request may not be complete. */
  pending: ServerResponse[];
  /** How often it was read without an answer, since the last one. */
  looks: number;
  /** Cancels the next time. */
  cancelLook: () => void;
  /** Takes the listeners away. */
  readonly stop: () => void;
}

export class ReadTurns {
  readonly #loop: Loop & Pick<World, 'after'>;
  readonly #reads = new WeakMap<Socket, Read>();
  /** In the order of their turns. */
  readonly #waiting = new Set<Read>();
  /** Connections that have not been costly yet. */
  readonly #others = new Set<Socket>();
  readonly #surprises: SharedTurn;

  constructor(loop: Loop & Pick<World, 'after'>) {
    this.#loop = loop;
    this.#surprises = new SharedTurn(loop, SURPRISES_MS);
  }

  /** There is a new connection. */
  opened(socket: Socket): void {
    this.#others.add(socket);
    socket.once('close', () => this.#others.delete(socket));
  }

  /**
   * Measures the reads of the connection from now on. Called while Node parses what it has read of it.
   * @param response to a request that cannot start yet: the connection is not read before it and those before it are answered.
   *   Null: the request has a body in chunks
   */
  watch(socket: Socket, response: ServerResponse | null): void {
    const read = this.#reads.get(socket) ?? this.#begin(socket);
    if (response !== null) read.pending = [...read.pending.slice(-1), response];
  }

  /** The connection has become something else than HTTP. */
  forget(socket: Socket): void {
    this.#others.delete(socket);
    const read = this.#reads.get(socket);
    if (read === undefined) return;
    read.stop();
    this.#drop(read);
    if (!read.isHeld) return;
    read.isHeld = false;
    // Node does not start to read again by itself: for its stream the last read is still under way.
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
        socket.off('data', parsing).off('data', parsed).off('resume', resumed).off('close', closed);
      },
    };
    this.#reads.set(socket, read);
    this.#hold(read);
    // With a listener of somebody else Node takes data by `data` too; what it did about pausing stays as it was.
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

  /** Lets the other connections wait for the next turn of the event loop. */
  #holdOthers(): void {
    const known: Socket[] = [];
    const silent: Socket[] = [];
    for (const socket of this.#others) {
      if (socket.isPaused()) continue;
      socket.pause();
      (socket.bytesRead > 0 ? known : silent).push(socket);
    }
    if (known.length + silent.length === 0) return;
    // They are read in this order: whoever has sent nothing before may be the next surprise.
    this.#loop.soon(() => {
      for (const socket of [...known, ...silent]) socket.resume();
    });
  }

  /** Node has parsed what it has read. */
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

  /** Lets it wait for its turn, behind the answers that are not out. */
  #wait(read: Read): void {
    const [last = null, before = null] = read.pending.reverse();
    read.pending = [];
    // The rest of an incomplete request is still to be read.
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
