/** What an application keeps of the feed: a copy of some prefixes. It insists on what docs/protocol.md promises. */
import assert from 'node:assert/strict';
import { type Change, type FeedEvent, offsetOf } from './follower.ts';

export interface MirrorEntry {
  readonly value: string;
  readonly encoding: string;
  readonly version: number;
  readonly expiresAt: number | null;
}

export type Entries = ReadonlyMap<string, MirrorEntry>;

/** What changed at one position. */
export interface Step {
  readonly offset: number;
  readonly changes: readonly Change[];
}

/** From one snapshot to the next: what it began with, and every step since. */
export interface Segment {
  readonly runId: string;
  readonly base: number;
  readonly snapshot: Entries;
  readonly steps: Step[];
}

export class Mirror {
  readonly prefixes: readonly string[];
  entries: Map<string, MirrorEntry> = new Map();
  /** Where to resume; null: from a snapshot. */
  position: string | null = null;
  readonly segments: Segment[] = [];
  #arriving: Map<string, MirrorEntry> | null = null;
  #announced: FeedEvent | null = null;
  #isFirst = true;

  /** @param prefixes none: all keys */
  constructor(prefixes: readonly string[]) {
    this.prefixes = prefixes;
  }

  get offset(): number {
    return this.position === null ? -1 : offsetOf(this.position);
  }

  /** Another connection: what was half there is forgotten. */
  connect(): void {
    this.#isFirst = true;
    this.#arriving = null;
  }

  take(event: FeedEvent): void {
    const isFirst = this.#isFirst;
    if (event.type !== 'waiting') this.#isFirst = false;
    switch (event.type) {
      case 'waiting':
      case 'error':
        return;
      case 'reset':
        this.#arriving = new Map();
        this.#announced = event;
        return;
      case 'entry':
        this.#takeEntry(event);
        return;
      case 'synced':
        this.#takeSynced(event);
        return;
      default:
        break;
    }
    assert.equal(this.#arriving, null, `${event.type} inside a snapshot`);
    const at = offsetOf(event.position);
    if (event.type === 'continue') {
      if (isFirst && this.position !== null) assert.equal(at, this.offset, 'it continues elsewhere');
      assert.ok(at >= this.offset, 'it continues before what was told');
    } else {
      assert.ok(!isFirst, `${event.type} comes first`);
      if (event.type === 'bookmark') assert.ok(at >= this.offset, `back from ${this.offset} to ${at}`);
      else this.#takeChanges(event, at);
    }
    this.position = String(event.position);
  }

  #takeEntry({ key = '', value = '', encoding = 'utf8', version = 0, expiresAt = null }: FeedEvent): void {
    assert.ok(this.#arriving !== null, 'an entry outside a snapshot');
    assert.ok(this.#wants(key), `${key} is not of ${this.prefixes}`);
    assert.ok(!this.#arriving.has(key), `${key} twice in a snapshot`);
    this.#arriving.set(key, { value, encoding, version, expiresAt });
  }

  #takeSynced({ position }: FeedEvent): void {
    assert.ok(this.#arriving !== null, 'synced without a reset');
    assert.equal(this.#arriving.size, this.#announced?.keys, 'the number of entries');
    assert.equal(position, this.#announced?.position);
    this.entries = this.#arriving;
    this.#arriving = null;
    this.position = String(position);
    const [runId = ''] = this.position.split(':');
    this.segments.push({ runId, base: this.offset, snapshot: new Map(this.entries), steps: [] });
  }

  #takeChanges(event: FeedEvent, at: number): void {
    assert.ok(at > this.offset, `${event.type} at ${at}, and ${this.offset} was told`);
    const changes = changesOf(event);
    for (const change of changes) {
      assert.ok(
        change.key === undefined || this.#wants(change.key),
        `${change.key} is not of ${this.prefixes}`,
      );
    }
    apply(this.entries, changes);
    this.segments.at(-1)?.steps.push({ offset: at, changes });
  }

  #wants(key: string): boolean {
    return this.prefixes.length === 0 || this.prefixes.some((prefix) => key.startsWith(prefix));
  }
}

/** What an event changes, without its position. */
export function changesOf(event: FeedEvent): readonly Change[] {
  if (event.changes !== undefined) return event.changes;
  const { position: _position, ...change } = event;
  return [change];
}

export function apply(entries: Map<string, MirrorEntry>, changes: readonly Change[]): void {
  for (const { type, key = '', value = '', encoding = 'utf8', version = 0, expiresAt = null } of changes) {
    if (type === 'flush') entries.clear();
    else if (type === 'delete') entries.delete(key);
    else if (type === 'set') entries.set(key, { value, encoding, version, expiresAt });
    else {
      assert.equal(type, 'expiry');
      const before = entries.get(key);
      assert.ok(before !== undefined, `an expiry of ${key}, which is not there`);
      entries.set(key, { ...before, expiresAt });
    }
  }
}
