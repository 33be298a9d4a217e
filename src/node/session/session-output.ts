/**
 * The stream on its way to one replica, and the limits on how far the replica may fall behind.
 *
 * The output is a cursor into the stream, not a queue. While the socket takes bytes, the output gives it the buffer of each
 * commit, which all sessions share. When the socket is full, the output stops, and later reads on from the backlog or, row by
 * row, from the journal. So a slow replica costs disk space for the journal, up to `outputLimitBytes`, and no memory.
 */
import { CloseCode } from '../../replication/close-code.ts';
import type { Offset } from '../../replication/position.ts';
import { msSince } from '../elapsed.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { GETACK, GETFACK, lagText } from '../link-times.ts';
import { StorageError } from '../ports/failures.ts';
import type { StreamSocket } from '../ports/stream-socket.ts';
import type { World } from '../ports/world.ts';
import { SharedTurn } from '../turns.ts';
import { owned } from '../unattended.ts';
import type { OutputLimits, WantedAcks } from './session-context.ts';
import { MESSAGE_BYTES } from './snapshot-sender.ts';

/** Bytes that may wait in the socket: from this number on, the output gives it nothing more until the socket has sent some. */
const HIGH_WATER_BYTES = 1024 * 1024;
/** Time between two pings that tell a replica how far it is behind. */
const TELL_LAG_MS = 1_000;
const NO_LAG = lagText({ bytes: 0, ms: 0 });
const EMPTY = Buffer.alloc(0);
const NONE_WANTED: WantedAcks = { inJournal: null, onDisk: null };

interface OutputParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly settings: OutputLimits;
  readonly socket: StreamSocket;
  /** Milliseconds by which this node may be behind its master, 0 on a master; null: unknown. */
  lagMs(): number | null;
  /** Ends the session, because the replica is too far behind. */
  close(code: CloseCode, detail: string): void;
  /** Ends the session, because this node cannot read the journal rows that the replica lacks. */
  journalNotRead(error: StorageError): void;
  /** Takes an error that nobody expects. */
  mistaken(error: unknown): void;
}

export class SessionOutput {
  readonly #parts: OutputParts;
  readonly #unpin: () => void;
  /** `before`: the replica has no position yet to continue from. `online`: it gets the stream. `ended`: it gets nothing more. */
  #state: 'before' | 'online' | 'ended' = 'before';
  /** Offset up to which the socket was given the stream. */
  #cursor: Offset;
  /** Bytes after the cursor that the output already holds: the rest of a commit's buffer, which sessions share, or of a read. */
  #unsent: Buffer = EMPTY;
  /** Bytes that the replica may lag beyond the limits, because it went online that far behind or one commit was that large. */
  #allowance = 0;
  /** Moment of the monotonic clock since which the replica has been behind the soft limit. */
  #softSince: number | null = null;
  /** The acknowledgements that writers wait for, and that the output has not asked for yet. */
  #wanted: WantedAcks = NONE_WANTED;
  /** Whether the output waits for the pong to a ping that asked for an acknowledgement. */
  #asking = false;
  /** The last lag that the replica was told. */
  #toldLag = NO_LAG;
  /** Moment of the monotonic clock at which the replica was told a lag, and whether its pong has not come. */
  #toldLagAt = Number.NEGATIVE_INFINITY;
  #tellsLag = false;
  /** Limits how long the output reads in one turn of the event loop. */
  readonly #readTurn: SharedTurn;
  /** Whether the output has asked to continue in the next turn of the event loop. */
  #pumpDue = false;

  constructor(parts: OutputParts) {
    this.#parts = parts;
    this.#cursor = parts.head.offset;
    this.#readTurn = new SharedTurn(parts.world);
    this.#unpin = parts.head.pin(() => (this.#state === 'online' ? this.#cursor : null));
  }

  /** Gives nothing more, and no longer keeps the journal from being trimmed. */
  end(): void {
    this.#state = 'ended';
    this.#unpin();
  }

  /**
   * Begins to give the stream.
   * @param after offset that the replica has
   * @param wanted the acknowledgements that writers wait for
   */
  goOnline(after: Offset, wanted: WantedAcks): void {
    this.#cursor = after;
    // The replica lacks these bytes because clients wrote them while it got its snapshot, not because it is slow.
    this.#allowance = this.#parts.head.offset - after;
    this.#state = 'online';
    // By this question the replica learns that this master understands FACK.
    this.#wanted = merged(wanted, { inJournal: null, onDisk: after });
    this.#tellLag();
    this.#pump();
  }

  /** Gives a commit's bytes. @param from offset before them */
  committed(bytes: Buffer, from: Offset): void {
    if (this.#state !== 'online') return;
    if (this.#cursor === from) this.#unsent = bytes;
    this.#pump();
    this.checkLimits(bytes.length);
  }

  /** Asks the replica to acknowledge as soon as it has everything up to these offsets. */
  wantAcks(wanted: WantedAcks): void {
    if (this.#state !== 'online') return;
    this.#wanted = merged(this.#wanted, wanted);
    this.#askForAck();
  }

  /** A pong has come: the output may ask for the next acknowledgement. */
  answered(): void {
    this.#asking = false;
    this.#tellsLag = false;
    this.#askForAck();
  }

  /** @returns the text of a ping that tells the replica how far it is behind; empty: there is nothing new, or it has not answered the last */
  lagText(): string {
    if (this.#state !== 'online' || this.#tellsLag) return '';
    const { head, lagMs, world } = this.#parts;
    const text = lagText({ bytes: head.offset - this.#cursor, ms: lagMs() });
    if (text === NO_LAG && this.#toldLag === NO_LAG) return '';
    this.#toldLag = text;
    this.#toldLagAt = world.monotonic();
    this.#tellsLag = true;
    return text;
  }

  /** Milliseconds after which the replica may be told another lag: soon, if the last one was not 0. */
  get lookMs(): number {
    return this.#toldLag === NO_LAG ? Number.POSITIVE_INFINITY : TELL_LAG_MS;
  }

  #tellLag(): void {
    const text = this.lagText();
    if (text !== '') this.#parts.socket.ping(text);
  }

  /** Sends one line of the conversation. */
  line(line: string): void {
    this.give(Buffer.from(`${line}\r\n`, 'latin1'));
  }

  /** Sends bytes. @param sent called when the operating system has taken the bytes, or never will */
  give(bytes: Buffer, sent = (): void => this.#pump()): void {
    const { mistaken, socket } = this.#parts;
    socket.send(bytes, owned(sent, mistaken));
  }

  /**
   * Ends the session if the replica is too far behind.
   * @param added size in bytes of the commit that the caller has just given to the output; 0: the caller gave none
   */
  checkLimits(added: number): void {
    if (this.#state !== 'online') return;
    const { close, head, settings, world } = this.#parts;
    const behind = head.offset - this.#cursor;
    // A limit below the backlog would cut off replicas that a partial resync brings back to where they were.
    const limit = Math.max(settings.outputLimitBytes, head.backlog.size);
    // A single commit may be larger than the limit, and the replica must still get it. The allowance lasts until the replica is
    // within the limit again, so writes that arrive while it takes the large commit do not end the session.
    if (behind <= limit) this.#allowance = 0;
    else if (added > limit) this.#allowance = Math.max(this.#allowance, behind);
    if (behind > this.#allowance + limit) {
      close(CloseCode.tooFarBehind, `${behind} bytes behind`);
      return;
    }
    const soft = Math.max(settings.outputSoftBytes, head.backlog.size);
    if (behind <= this.#allowance + soft) {
      this.#softSince = null;
      return;
    }
    this.#softSince ??= world.monotonic();
    const softMs = msSince(world, this.#softSince);
    if (softMs > settings.outputSoftMs) {
      close(CloseCode.tooFarBehind, `${behind} bytes behind, more than ${soft} for ${softMs} ms`);
    }
  }

  /**
   * Gives the socket bytes until 1 MiB waits in it, in messages of at most 256 KiB. A socket that takes everything at once
   * calls back within the same turn of the event loop, without end; so the output reads for 5 ms at most in one turn.
   */
  #pump(): void {
    const { head, socket, world } = this.#parts;
    while (this.#state === 'online' && socket.bufferedBytes < HIGH_WATER_BYTES) {
      if (this.#unsent.length === 0) {
        if (this.#cursor === head.offset) break;
        if (this.#readTurn.isOver) {
          this.#pumpSoon();
          break;
        }
        const read = this.#read();
        if (read === null) return;
        this.#unsent = read;
      }
      const part = this.#unsent.subarray(0, MESSAGE_BYTES);
      this.#unsent = this.#unsent.subarray(part.length);
      this.#cursor = (this.#cursor + part.length) as Offset;
      this.give(part);
    }
    if (this.#cursor < head.offset && msSince(world, this.#toldLagAt) >= TELL_LAG_MS) this.#tellLag();
    this.#askForAck();
  }

  #pumpSoon(): void {
    if (this.#pumpDue) return;
    this.#pumpDue = true;
    this.#parts.world.soon(() => {
      this.#pumpDue = false;
      this.#pump();
    });
  }

  /** @returns bytes after the cursor; null: this node cannot read them, and the session has ended */
  #read(): Buffer | null {
    try {
      return this.#parts.head.read(this.#cursor, MESSAGE_BYTES);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#parts.journalNotRead(error);
      return null;
    }
  }

  /**
   * Sends a ping frame that asks for an acknowledgement. The frame arrives after the bytes that it asks about, and is no part
   * of the stream (docs/decisions/005-keep-alives-are-not-in-the-stream.md). The output waits for the pong before it sends the
   * next one: otherwise a replica that was busy for a moment would find hundreds of pings, and WebSocket libraries take that
   * for an attack (`ws` cuts the connection at 60). The next ping asks for everything that was committed meanwhile.
   */
  #askForAck(): void {
    if (this.#state !== 'online' || this.#asking) return;
    const { inJournal, onDisk } = this.#wanted;
    // One question at a time: replicas of earlier versions answer only the one about their journals.
    if (inJournal !== null && this.#cursor >= inJournal) {
      this.#wanted = { inJournal: null, onDisk };
      this.#ask(GETACK);
    } else if (onDisk !== null && this.#cursor >= onDisk) {
      this.#wanted = { inJournal, onDisk: null };
      this.#ask(GETFACK);
    }
  }

  #ask(question: string): void {
    this.#asking = true;
    this.#parts.socket.ping(question);
  }
}

/** @returns what satisfies both */
function merged(one: WantedAcks, other: WantedAcks): WantedAcks {
  return { inJournal: later(one.inJournal, other.inJournal), onDisk: later(one.onDisk, other.onDisk) };
}

function later(one: Offset | null, other: Offset | null): Offset | null {
  return one !== null && (other === null || one > other) ? one : other;
}
