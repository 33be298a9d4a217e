/**
 * The master's stream on its way into this node: decoded when it arrives, committed once in each turn of the event loop, and
 * acknowledged.
 *
 * The bytes go through the same `StreamHead.commit` as a master's own writes. Invariant: this node acknowledges only bytes that
 * are in its journal.
 */
import { CloseCode } from '../../replication/close-code.ts';
import type { Run } from '../../stream/command.ts';
import { concatenation } from '../../stream/concatenation.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';
import type { StreamHead } from '../head/stream-head.ts';
import { StorageError } from '../ports/failures.ts';
import type { StateStore } from '../ports/state-store.ts';
import type { World } from '../ports/world.ts';
import { SharedTurn } from '../turns.ts';
import type { LagClock } from './lag-clock.ts';
import { type Failure, failureOf } from './link-context.ts';
import type { MasterConnection } from './master-connection.ts';

/** Time between two acknowledgements of a replica (docs/design/redis-rules.md, R9). */
const ACK_INTERVAL_MS = 1_000;

interface ReceivedStreamParts {
  readonly world: World;
  readonly head: StreamHead;
  readonly journal: Pick<StateStore, 'durableUpTo' | 'syncSoon'>;
  readonly connection: Pick<
    MasterConnection,
    'send' | 'pause' | 'resume' | 'endTurn' | 'beginTurn' | 'newToken'
  >;
  /** Notes what has come, and what is committed. */
  readonly lagClock: Pick<LagClock, 'goes' | 'reached'>;
  /** The connection has brought something, or has streamed for a while. */
  stable(): void;
  /** This node cannot go on with the stream. */
  failed(code: CloseCode, why: Failure): void;
}

export class ReceivedStream {
  readonly #parts: ReceivedStreamParts;
  readonly #decoder = new StreamDecoder();
  /** The turn of the event loop in which this node decodes. */
  readonly #turn: SharedTurn;
  #phase: 'waiting' | 'live' | 'stopped' = 'waiting';
  /** Runs that arrived in this turn and are not committed. */
  #received: Run[] = [];
  #receivedBytes = 0;
  #isTurnDue = false;
  /** Whether the master wants an acknowledgement at once. */
  #isAckWanted = false;
  /** Whether acknowledgements tell what is on the disk: the master has shown that it understands it. */
  #tellsDurable = false;
  /** Whether the master waits until what has arrived is on the disk, and whether this node brings it there. */
  #isSyncWanted = false;
  #isSyncing = false;
  #cancelAck: () => void = () => undefined;

  constructor(parts: ReceivedStreamParts) {
    this.#parts = parts;
    this.#turn = new SharedTurn(parts.world);
  }

  /** Begins to acknowledge: now, and then in intervals. */
  start(): void {
    this.#phase = 'live';
    this.#acknowledgeAgain();
  }

  /** Ends the acknowledgements and the turns, with the connection. `take` and `commit` still work. */
  stop(): void {
    this.#phase = 'stopped';
    this.#cancelAck();
  }

  /** Takes bytes of the stream; the caller must not change them afterwards. */
  take(bytes: Buffer): void {
    try {
      const run = this.#decoder.push(bytes);
      if (run !== null) {
        this.#received.push(run);
        this.#receivedBytes += run.bytes.length;
      }
      if (this.#phase === 'live') this.#parts.lagClock.goes(this.#parts.head.offset + this.unappliedBytes);
      if (run === null) return;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      const known = this.#parts.head.offset + this.#receivedBytes;
      const detail = `the bytes after byte ${known} are no stream: ${error.message}`;
      this.#parts.failed(CloseCode.protocolError, { detail });
      return;
    }
    // Decoding takes time, and so will committing; the socket may have more at once than a turn should bring.
    if (this.#turn.isOver) this.#parts.connection.endTurn();
    this.#scheduleTurn();
  }

  /** Bytes that have come and are not committed: whole runs, until the turn of the event loop is over, and a transaction that has not come whole. */
  get unappliedBytes(): number {
    return this.#receivedBytes + this.#decoder.heldBytes;
  }

  /** Acknowledges as soon as the bytes that have arrived so far are in the journal. */
  acknowledgeSoon(): void {
    this.#isAckWanted = true;
    this.#scheduleTurn();
  }

  /** Acknowledges like `acknowledgeSoon`, and once more when these bytes are on the disk. */
  acknowledgeOnDisk(): void {
    this.#tellsDurable = true;
    this.#isSyncWanted = true;
    this.acknowledgeSoon();
  }

  /** Commits the runs that have arrived. @returns the reason why the journal did not take them; they are lost then. Else null */
  commit(): StorageError | null {
    const received = this.#received;
    this.drop();
    if (received.length === 0) return null;
    try {
      this.#parts.head.commit(concatenation(received));
      if (this.#phase === 'live') this.#parts.lagClock.reached(this.#parts.head.offset);
      this.#parts.stable();
      return null;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return error;
    }
  }

  /** Forgets the runs that have arrived: this node does not acknowledge them, so the master sends them again. */
  drop(): void {
    this.#received = [];
    this.#receivedBytes = 0;
  }

  /** All runs that arrive in one turn of the event loop become one row of the journal, as in a master's write turn. */
  #scheduleTurn(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    this.#parts.world.soon(() => {
      this.#isTurnDue = false;
      this.#takeTurn();
    });
  }

  #takeTurn(): void {
    if (this.#phase === 'stopped') return;
    const { connection, head } = this.#parts;
    const failure = this.commit();
    if (failure !== null) {
      this.#parts.failed(CloseCode.goingAway, failureOf('cannot keep the stream', failure));
      return;
    }
    if (this.#isAckWanted && this.#phase === 'live') this.#acknowledge();
    this.#isAckWanted = false;
    this.#syncSoon();
    if (!head.full) {
      connection.beginTurn();
      return;
    }
    connection.pause();
    head.whenRoom(() => {
      if (this.#phase !== 'stopped') connection.resume();
    });
  }

  #acknowledgeAgain(): void {
    this.#cancelAck();
    const token = this.#parts.connection.newToken();
    // The master answers nothing, and takes it in the place of the token that it has.
    if (token !== null) this.#parts.connection.send(['AUTH', token]);
    this.#acknowledge();
    this.#cancelAck = this.#parts.world.after(ACK_INTERVAL_MS, () => {
      this.#parts.stable();
      this.#acknowledgeAgain();
    });
  }

  #syncSoon(): void {
    const { head, journal } = this.#parts;
    if (!this.#isSyncWanted || this.#isSyncing) return;
    this.#isSyncWanted = false;
    if (journal.durableUpTo(head.offset) === head.offset) return;
    this.#isSyncing = true;
    journal.syncSoon(() => {
      this.#isSyncing = false;
      if (this.#phase !== 'live') return;
      this.#acknowledge();
      this.#syncSoon();
    });
  }

  #acknowledge(): void {
    const { connection, head, journal } = this.#parts;
    const onDisk = this.#tellsDurable ? ['FACK', String(journal.durableUpTo(head.offset))] : [];
    connection.send(['REPLCONF', 'ACK', String(head.offset), ...onDisk]);
  }
}
