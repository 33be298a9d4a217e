/**
 * The last events of each session, so that "why did it resync?" is one request, also after the session has ended.
 * What is noted here is logged under the same name.
 */
import type { Log } from '../ports.ts';

/** Events of one session that are kept, and how many sessions that have ended. */
const MAX_EVENTS = 32;
const MAX_ENDED = 64;

/** `session-ended`: by this side; `session-closed`: by the replica, or by the network. */
export const SESSION_EVENTS = [
  'connected',
  'refused',
  'full-resync',
  'partial-resync',
  'snapshot-sent',
  'session-ended',
  'session-closed',
] as const;
export type SessionEventName = (typeof SESSION_EVENTS)[number];

export interface SessionEvent {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly event: SessionEventName;
  /** What the event is about: position, reason, bytes, code … */
  readonly fields: Readonly<Record<string, string | number>>;
}

export interface SessionRecord {
  readonly id: string;
  readonly peer: string;
  /** Where the replica says that it can be reached. */
  url?: string;
  open: boolean;
  /** Oldest first; of very many the oldest are gone. */
  readonly events: readonly SessionEvent[];
}

export class SessionLog {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #records: (SessionRecord & { events: SessionEvent[] })[] = [];

  constructor(log: Log, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** Of open sessions and of the last ones that have ended, newest first. */
  get records(): readonly SessionRecord[] {
    return this.#records.toReversed();
  }

  /** @returns what notes an event of this session */
  open(id: string, peer: string): SessionNotes {
    const record = { id, peer, open: true, events: [] as SessionEvent[] };
    this.#records.push(record);
    return new SessionNotes(record, this.#log, this.#now, () => this.#forget());
  }

  #forget(): void {
    let ended = this.#records.filter(({ open }) => !open).length;
    for (let index = 0; ended > MAX_ENDED; index += 1) {
      if (this.#records[index]?.open !== false) continue;
      this.#records.splice(index, 1);
      index -= 1;
      ended -= 1;
    }
  }
}

export class SessionNotes {
  readonly #record: SessionRecord & { events: SessionEvent[] };
  readonly #log: Log;
  readonly #now: () => number;
  readonly #ended: () => void;

  constructor(
    record: SessionRecord & { events: SessionEvent[] },
    log: Log,
    now: () => number,
    ended: () => void,
  ) {
    this.#record = record;
    this.#log = log;
    this.#now = now;
    this.#ended = ended;
  }

  /** The replica has said where it can be reached. */
  named(url: string): void {
    this.#record.url = url;
  }

  note(event: SessionEventName, fields: Readonly<Record<string, string | number>> = {}): void {
    const { id, peer, url, events } = this.#record;
    this.#log.info(event, { session: id, replica: url ?? peer, ...fields });
    if (events.length === MAX_EVENTS) events.shift();
    events.push({ at: this.#now(), event, fields });
  }

  end(): void {
    this.#record.open = false;
    this.#ended();
  }
}
