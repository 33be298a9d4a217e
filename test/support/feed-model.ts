/** A history of changes and what it comes to: what a node would say to a follower, as data. */
import type { ChangeEvent, FeedChange, FeedEvent, ResetReason, SentEntry } from '../../src/client/event.ts';

export class FeedModel {
  /** The state at each offset that is a position: the first one is the empty one at 0. */
  readonly #states = new Map<number, ReadonlyMap<string, SentEntry>>([[0, new Map()]]);
  readonly #events: ChangeEvent[] = [];
  /** Up to where each run ID names this history, the present one without an end. */
  readonly #runIds = new Map<string, number>();
  #runId: string;
  #offset = 0;

  constructor(runId = 'a'.repeat(40)) {
    this.#runId = runId;
    this.#runIds.set(runId, Number.POSITIVE_INFINITY);
  }

  get position(): string {
    return `${this.#runId}:${this.#offset}`;
  }

  /** What everything comes to. */
  get entries(): ReadonlyMap<string, SentEntry> {
    return this.#states.get(this.#offset) as ReadonlyMap<string, SentEntry>;
  }

  get events(): readonly ChangeEvent[] {
    return this.#events;
  }

  /** What a copy at this position has to be; undefined: the history has no such position. */
  at(position: string): ReadonlyMap<string, SentEntry> | undefined {
    const [runId = '', offset] = position.split(':');
    return Number(offset) <= (this.#runIds.get(runId) ?? -1) ? this.#states.get(Number(offset)) : undefined;
  }

  /** From now on the history has another name; what has been is shared. */
  promote(runId: string): void {
    this.#runIds.set(this.#runId, this.#offset);
    this.#runIds.set(runId, Number.POSITIVE_INFINITY);
    this.#runId = runId;
  }

  /** One change, or several as a batch. */
  write(...changes: readonly FeedChange[]): ChangeEvent {
    const entries = new Map(this.entries);
    for (const change of changes) apply(change, entries);
    this.#offset += 10;
    const { position } = this;
    const [only] = changes;
    const event: ChangeEvent =
      changes.length === 1 && only !== undefined
        ? { ...only, position }
        : { type: 'batch', changes, position };
    this.#events.push(event);
    this.#states.set(this.#offset, entries);
    return event;
  }

  set(key: string, value: string, expiresAt: number | null = null): ChangeEvent {
    return this.write(set(key, value, this.#offset + 10, expiresAt));
  }

  /** What a follower gets that asks for this position; undefined: a snapshot. */
  from(position: string | undefined): readonly FeedEvent[] {
    if (position === undefined) return this.snapshot('first-sync');
    if (this.at(position) === undefined) return this.snapshot('unknown-run-id');
    const offset = Number(position.split(':')[1]);
    return [
      { type: 'continue', position: `${this.#runId}:${offset}`, head: this.position },
      ...this.#events.filter((event) => Number(event.position.split(':')[1]) > offset),
    ];
  }

  snapshot(reason: ResetReason): readonly FeedEvent[] {
    const { entries, position } = this;
    return [
      { type: 'reset', position, reason, keys: entries.size },
      ...[...entries.values()].map((entry) => ({ type: 'entry', ...entry }) as const),
      { type: 'synced', position },
    ];
  }
}

export function set(
  key: string,
  value: string,
  version: number,
  expiresAt: number | null = null,
): FeedChange {
  return { type: 'set', key, value, encoding: 'utf8', version, expiresAt };
}

function apply(change: FeedChange, entries: Map<string, SentEntry>): void {
  switch (change.type) {
    case 'set': {
      const { type: _, ...entry } = change;
      entries.set(change.key, entry);
      return;
    }
    case 'delete':
      entries.delete(change.key);
      return;
    case 'expiry': {
      const entry = entries.get(change.key);
      if (entry !== undefined) entries.set(change.key, { ...entry, expiresAt: change.expiresAt });
      return;
    }
    case 'flush':
      entries.clear();
  }
}
