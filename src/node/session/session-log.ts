/**
 * The last events of each session. One request answers "why did it resync?", also after the session has ended.
 * Each event is also a line of the log, under the same name, once the peer has shown that it may replicate. Those that never show it get
 * one line together (`LockedCount`), because strangers could fill the disk with lines.
 */
import { replicaName } from '../../replication/upstream.ts';
import { msSince } from '../elapsed.ts';
import { showable } from '../ports/peer-words.ts';
import type { Log, World } from '../ports/world.ts';

/** The number of events that the log keeps of one session: the last ones. */
const MAX_EVENTS = 32;
/** The number of ended sessions that the log keeps: the last ones. Open sessions do not count. */
const MAX_ENDED = 64;
/** The same for sessions of which nobody has shown that they may replicate: they never push out another one. */
const MAX_ENDED_LOCKED = 16;

/** Shortest time between two lines, in milliseconds. */
const LINE_EVERY_MS = 60_000;

/** Names of the events. `session-ended`: this node closed the session; `session-closed`: the replica or the network did. */
export const SESSION_EVENTS = [
  'connected',
  'refused',
  'full-resync',
  'partial-resync',
  'snapshot-resumed',
  'snapshot-sent',
  'session-ended',
  'session-closed',
] as const;
export type SessionEventName = (typeof SESSION_EVENTS)[number];

export interface SessionEvent {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly event: SessionEventName;
  /** Details of the event: position, reason, bytes, close code. */
  readonly fields: Readonly<Record<string, string | number>>;
}

export interface SessionRecord {
  readonly id: string;
  readonly peer: string;
  /** URL under which the replica says that other nodes reach it. */
  url?: string;
  /** Whether the session has not ended yet. */
  open: boolean;
  /** The last 32 events, oldest first. */
  readonly events: readonly SessionEvent[];
}

/** A record that grows. */
type Written = SessionRecord & { events: SessionEvent[] };

export class SessionLog {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #count: LockedCount;
  readonly #records: Written[] = [];
  /** The records of ended sessions that were locked to their end. */
  readonly #locked = new WeakSet<Written>();

  constructor(log: Log, { now, monotonic }: Pick<World, 'now' | 'monotonic'>) {
    this.#log = log;
    this.#now = now;
    this.#count = new LockedCount(log, monotonic);
  }

  /** The records of the open sessions and of the last 64 that have ended, newest first. */
  get records(): readonly SessionRecord[] {
    return this.#records.toReversed();
  }

  /**
   * Begins the record of a session.
   * @param isLocked whether its peer must still show that it may replicate
   * @returns the notebook in which the session writes its events
   */
  open(id: string, peer: string, isLocked: boolean): SessionNotes {
    const record = { id, peer, open: true, events: [] as SessionEvent[] };
    this.#records.push(record);
    return new SessionNotes(record, this.#log, this.#now, isLocked, (isKnown) => {
      if (!isKnown) {
        this.#locked.add(record);
        this.#count.add(peer, record.events.at(-1)?.fields.reason);
      }
      this.#forget(isKnown);
    });
  }

  /** Forgets the oldest ended sessions, of those that are known or of the others. */
  #forget(isKnown: boolean): void {
    const ended = this.#records.filter((record) => !record.open && this.#locked.has(record) !== isKnown);
    const most = isKnown ? MAX_ENDED : MAX_ENDED_LOCKED;
    for (const record of ended.slice(0, Math.max(0, ended.length - most))) {
      this.#records.splice(this.#records.indexOf(record), 1);
    }
  }
}

/** The record of one session, as the session writes it. */
export class SessionNotes {
  readonly #record: Written;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #ended: (isKnown: boolean) => void;
  #isLocked: boolean;

  /** @param ended gets whether the peer has shown that it may replicate */
  constructor(
    record: Written,
    log: Log,
    now: () => number,
    isLocked: boolean,
    ended: (isKnown: boolean) => void,
  ) {
    this.#record = record;
    this.#log = log;
    this.#now = now;
    this.#isLocked = isLocked;
    this.#ended = ended;
  }

  /** Notes the URL under which the replica says that other nodes reach it. */
  named(url: string): void {
    this.#record.url = url;
  }

  /** The peer has shown that it may replicate: its events are lines of the log from now on, and those before as well. */
  unlock(): void {
    if (!this.#isLocked) return;
    this.#isLocked = false;
    for (const { event, fields } of this.#record.events) this.#write(event, fields);
  }

  /** Adds an event to the record, and to the log unless the session is locked. */
  note(event: SessionEventName, told: Readonly<Record<string, string | number>> = {}): void {
    const { events } = this.#record;
    const fields = Object.fromEntries(
      Object.entries(told).map(([name, value]) => [
        name,
        typeof value === 'string' ? showable(value) : value,
      ]),
    );
    if (!this.#isLocked) this.#write(event, fields);
    if (events.length === MAX_EVENTS) events.shift();
    events.push({ at: this.#now(), event, fields });
  }

  #write(event: SessionEventName, fields: Readonly<Record<string, string | number>>): void {
    const { id, peer, url } = this.#record;
    this.#log.info(event, { session: id, replica: replicaName({ url, peer }), ...fields });
  }

  /** Notes that the session has ended: from now on its record counts towards those that the log keeps. */
  end(): void {
    this.#record.open = false;
    this.#ended(!this.#isLocked);
  }
}

/**
 * One line of the log for all sessions that end without a peer that has shown that it may replicate: at the first one, and then at most
 * once a minute, with their number. Whoever can reach the port can make such connections, as fast as he likes.
 */
export class LockedCount {
  readonly #log: Log;
  readonly #monotonic: World['monotonic'];
  /** Connections since the last line. */
  #connections = 0;
  #loggedAt: number | null = null;

  /** @param monotonic milliseconds */
  constructor(log: Log, monotonic: World['monotonic']) {
    this.#log = log;
    this.#monotonic = monotonic;
  }

  /**
   * Counts a connection that has ended.
   * @param peer its address
   * @param reason why it ended
   */
  add(peer: string, reason: string | number = ''): void {
    this.#connections += 1;
    if (this.#loggedAt !== null && msSince({ monotonic: this.#monotonic }, this.#loggedAt) < LINE_EVERY_MS)
      return;
    this.#loggedAt = this.#monotonic();
    this.#log.info('replicas-without-token', { connections: this.#connections, last: peer, reason });
    this.#connections = 0;
  }
}
