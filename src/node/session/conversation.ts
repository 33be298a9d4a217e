/** The commands of one replica: parses them, steps the session machine, and reports its effects to the session. */
import type { SyncRequest } from '../../replication/decide.ts';
import type { Offset } from '../../replication/position.ts';
import { NEW_SESSION, type SessionState, sessionStep } from '../../replication/session-machine.ts';
import { ProtocolError } from '../../stream/protocol-error.ts';
import { RespParser } from '../../stream/resp-parser.ts';
import type { SessionPhase } from './session-context.ts';

/** Commands that a connection may send before PSYNC; one more ends it. */
const MAX_GREETING = 64;
/** Limits of one command; the commands of the handshake are short. */
const LIMITS = { maxElements: 64, maxBulkBytes: 4_096, maxArrayBytes: 16_384 };

/** The session, as the conversation calls it. */
export interface ConversationEvents {
  phase(): SessionPhase;
  /** Sends a line to the replica. */
  reply(line: string): void;
  /** The replica has said under which URL other nodes reach it. */
  named(): void;
  /** @param failover whether this node must become the master before it answers */
  startSync(request: SyncRequest, failover: boolean): void;
  acknowledged(offset: Offset): void;
  /** Ends the session, because the replica breaks the protocol. */
  protocolError(detail: string): void;
}

export class Conversation {
  readonly #events: ConversationEvents;
  readonly #parser = new RespParser(LIMITS);
  #machine: SessionState = NEW_SESSION;
  #commands = 0;

  constructor(events: ConversationEvents) {
    this.#events = events;
  }

  /** The replica's own words: its URL, its capabilities and the ID of its process; and whether it has asked for a sync. */
  get state(): SessionState {
    return this.#machine;
  }

  /** Takes bytes of the replica's commands; a command may arrive in pieces. */
  receive(bytes: Buffer): void {
    try {
      this.#parser.push(bytes);
      for (let next = this.#parser.next(); next !== null; next = this.#parser.next()) {
        this.#take(next.elements.map((element) => element.toString('utf8')));
        if (this.#events.phase() === 'closed') return;
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#events.protocolError(error.message);
    }
  }

  #take(words: readonly string[]): void {
    const events = this.#events;
    this.#commands += 1;
    if (events.phase() === 'handshake' && this.#commands > MAX_GREETING) {
      events.protocolError(`more than ${MAX_GREETING} commands before PSYNC`);
      return;
    }
    const [next, effects] = sessionStep(this.#machine, words);
    const isNamed = next.listeningUrl !== this.#machine.listeningUrl;
    this.#machine = next;
    if (isNamed) events.named();
    for (const effect of effects) {
      switch (effect.kind) {
        case 'reply':
          events.reply(effect.line);
          break;
        case 'start-sync':
          events.startSync(effect.request, effect.failover);
          break;
        case 'acknowledged':
          events.acknowledged(effect.offset);
          break;
        case 'protocol-error':
          events.protocolError(effect.detail);
          return;
      }
    }
  }
}
