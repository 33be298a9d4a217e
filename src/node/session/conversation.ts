/** The commands of one replica: parses them, steps the session machine, and reports its effects to the session. */
import { CloseCode } from '../../replication/close-code.ts';
import type { SyncRequest } from '../../replication/decide.ts';
import type { Offset } from '../../replication/position.ts';
import {
  authStep,
  LOCKED_SESSION,
  NEW_SESSION,
  type SessionEffect,
  type SessionState,
  sessionStep,
} from '../../replication/session-machine.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';
import { RespParser } from '../../stream/resp-parser.ts';
import type { Gate } from '../ports/stream-socket.ts';
import type { SharedTurn } from '../turns.ts';
import { unattended } from '../unattended.ts';
import type { SessionPhase } from './session-context.ts';

/** Commands that a connection may send before PSYNC; one more ends it. */
const MAX_GREETING = 64;
/** Limits of one command. The longest word is a token, and a signed one has up to 8 KiB wherever it is shown. */
const LIMITS = { maxElements: 64, maxBulkBytes: 8 * 1024, maxArrayBytes: 16 * 1024 };

/** Number of commands of one message between two looks at the clock. */
const COMMANDS_PER_LOOK = 256;

/** The session, as the conversation calls it. */
export interface ConversationEvents {
  phase(): SessionPhase;
  /** Sends a line to the replica. */
  reply(line: string): void;
  /** The peer has shown that it may replicate. */
  unlocked(): void;
  /** The replica has said under which URL other nodes reach it. */
  named(): void;
  /** @param failover whether this node must become the master before it answers */
  startSync(request: SyncRequest, failover: boolean): void;
  /** @param durable offset up to which the replica has the stream on its disk; null: it does not say */
  acknowledged(offset: Offset, durable: Offset | null): void;
  /** Stops and restarts reading. */
  pause(): void;
  resume(): void;
  /** Calls back when the event loop has handled other events. */
  soon(callback: () => void): void;
  /** Gets an error that nobody expects. */
  mistaken(error: unknown): void;
  /** Ends the session, because the replica breaks the protocol or may not replicate. */
  close(code: CloseCode, reason: string): void;
}

export class Conversation {
  readonly #events: ConversationEvents;
  readonly #gate: Gate;
  readonly #turn: SharedTurn;
  readonly #parser = new RespParser(LIMITS);
  #machine: SessionState;
  #commands = 0;
  /** Whether a token is being verified, or the turn is over: later commands wait. */
  #isWaiting = false;

  /**
   * @param gate whether the peer may replicate
   * @param turn of all conversations of the node: a message may hold tens of thousands of commands
   */
  constructor(events: ConversationEvents, gate: Gate, turn: SharedTurn) {
    this.#events = events;
    this.#gate = gate;
    this.#turn = turn;
    this.#machine = gate.isOpen ? NEW_SESSION : LOCKED_SESSION;
  }

  /** The replica's own words: its URL, its capabilities and the ID of its process; and whether it has asked for a sync. */
  get state(): SessionState {
    return this.#machine;
  }

  /** Takes bytes of the replica's commands; a command may arrive in pieces. */
  receive(bytes: Buffer): void {
    try {
      this.#parser.push(bytes);
      let taken = 0;
      for (let words = this.#next(); words !== null; words = this.#next()) {
        this.#take(words);
        taken += 1;
        if (taken % COMMANDS_PER_LOOK === 0 && this.#turn.isOver) this.#goOnLater();
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#events.close(CloseCode.protocolError, error.message);
    }
  }

  #goOnLater(): void {
    const events = this.#events;
    if (this.#isWaiting || events.phase() === 'closed') return;
    this.#isWaiting = true;
    events.pause();
    events.soon(() => {
      this.#isWaiting = false;
      if (events.phase() === 'closed') return;
      events.resume();
      this.receive(Buffer.alloc(0));
    });
  }

  /** @returns the next command; null: it has not come completely, or is not taken now */
  #next(): readonly string[] | null {
    if (this.#isWaiting || this.#events.phase() === 'closed') return null;
    return this.#parser.next()?.elements.map((element) => element.toString('utf8')) ?? null;
  }

  #take(words: readonly string[]): void {
    const events = this.#events;
    this.#commands += 1;
    if (events.phase() === 'handshake' && this.#commands > MAX_GREETING) {
      events.close(CloseCode.protocolError, `more than ${MAX_GREETING} commands before PSYNC`);
      return;
    }
    this.#step(sessionStep(this.#machine, words));
  }

  #step([next, effects]: ReturnType<typeof sessionStep>): void {
    const isNamed = next.listeningUrl !== this.#machine.listeningUrl;
    const isUnlocked = this.#machine.kind === 'locked' && next.kind !== 'locked';
    this.#machine = next;
    if (isUnlocked) this.#events.unlocked();
    if (isNamed) this.#events.named();
    for (const effect of effects) this.#carryOut(effect);
  }

  #carryOut(effect: SessionEffect): void {
    const events = this.#events;
    switch (effect.kind) {
      case 'reply':
        events.reply(effect.line);
        break;
      case 'authenticate':
        this.#authenticate(effect.token);
        break;
      case 'unauthorized':
        events.close(closeCodeOf(effect.refusal), effect.refusal.slice(1));
        break;
      case 'start-sync':
        events.startSync(effect.request, effect.failover);
        break;
      case 'acknowledged':
        events.acknowledged(effect.offset, effect.durable);
        break;
      case 'protocol-error':
        events.close(CloseCode.protocolError, effect.detail);
        break;
    }
  }

  #authenticate(token: string): void {
    const events = this.#events;
    const refusal = this.#gate.take(token);
    if (!(refusal instanceof Promise)) {
      this.#step(authStep(this.#machine, refusal));
      return;
    }
    this.#isWaiting = true;
    events.pause();
    const goOn = (line: string | null): void => {
      this.#isWaiting = false;
      if (events.phase() === 'closed') return;
      this.#step(authStep(this.#machine, line));
      events.resume();
      this.receive(Buffer.alloc(0));
    };
    unattended(refusal.then(goOn), (error) => events.mistaken(error));
  }
}

/** @param refusal the error line that a token is answered with */
function closeCodeOf(refusal: string): CloseCode {
  if (refusal.startsWith('-LOADING')) return CloseCode.tooMany;
  return refusal.startsWith('-NOPERM') ? CloseCode.forbidden : CloseCode.unauthorized;
}
