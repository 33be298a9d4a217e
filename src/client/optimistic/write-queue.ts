/**
 * The writes that a mirror does not have yet, by key and in the order in which they were made. One write a key is sent at
 * a time, so that the node carries them out in this order; writes of other keys do not wait for it.
 */
import type { Entry } from '../mirror/entry.ts';
import { MAX_PENDING, TooManyWritesError } from './optimistic-options.ts';
import { isConditional, type OptimisticEntry, type PendingWrite, withWrite } from './pending-write.ts';

/** Number of writes of which the queue knows later what became of them. */
const MAX_REMEMBERED = 10_000;

interface KeyWrites {
  readonly writes: PendingWrite[];
  /** Number of the writes that `shown` has, from the first one on; 0: it must be made anew. */
  applied: number;
  /** The entry of the mirror to which they were applied. */
  base?: Entry | undefined;
  shown?: OptimisticEntry | undefined;
}

export class WriteQueue {
  readonly #byKey = new Map<string, KeyWrites>();
  /** Keys with a write to send, the one that has waited longest first. */
  readonly #ready = new Set<string>();
  /** Keys with requests that may still be carried out; each promise resolves when the last of them has settled. */
  readonly #underWay = new Map<string, Promise<void>>();
  /** The node's version for each negative one; null: that write did not happen. */
  readonly #versions = new Map<number, number | null>();
  #length = 0;

  /** Number of writes. */
  get length(): number {
    return this.#length;
  }

  /** Number of keys with requests that may still be carried out. */
  get underWay(): number {
    return this.#underWay.size;
  }

  /** Keys with writes. */
  get keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  /**
   * Adds a write. It takes the place of an earlier one that was not sent yet, if it would leave nothing of it.
   * @throws TooManyWritesError
   */
  add(write: PendingWrite): void {
    const { key } = write;
    const last = this.#byKey.get(key)?.writes.at(-1);
    if (last?.stage === 'waiting' && isPlain(last) && isPlain(write)) {
      this.end(last);
      // What the earlier write would have done, this one does: however many follow, there is one promise.
      write.done = last.done;
    }
    if (this.#length >= MAX_PENDING) throw new TooManyWritesError();
    const found = this.#byKey.get(key) ?? { writes: [], applied: 0 };
    this.#byKey.set(key, found);
    found.writes.push(write);
    this.#length += 1;
    this.#changed(key, found.applied);
  }

  /** Takes the next write that may be sent. */
  next(): PendingWrite | undefined {
    for (const key of this.#ready) {
      if (this.#underWay.has(key)) continue;
      this.#ready.delete(key);
      const write = this.#byKey.get(key)?.writes.find(({ stage }) => stage === 'waiting');
      if (write === undefined) continue;
      write.stage = 'sent';
      return write;
    }
    return undefined;
  }

  /**
   * Notes a request. Until it settles no other write of its key is sent, which it could overtake.
   * @returns when the next write of the key may be sent, as far as this request is concerned
   */
  requested(key: string, request: Promise<unknown>): Promise<void> {
    const all = Promise.allSettled([request, this.#underWay.get(key)]).then(() => {
      if (this.#underWay.get(key) === all) this.#underWay.delete(key);
    });
    this.#underWay.set(key, all);
    return all;
  }

  /** Notes that the node has carried the write out. */
  accepted(write: PendingWrite, accepted: NonNullable<PendingWrite['accepted']>): void {
    write.accepted = accepted;
    write.stage = 'accepted';
    this.#remember(write.id, accepted.version ?? null);
    this.#changed(write.key);
  }

  /** Removes a write that it has: the mirror has it, or it did not happen. */
  end(write: PendingWrite): void {
    const { key, accepted } = write;
    const { writes } = this.#byKey.get(key) as KeyWrites;
    write.stage = 'over';
    writes.splice(writes.indexOf(write), 1);
    this.#length -= 1;
    if (accepted === null) this.#remember(write.id, null);
    if (writes.length === 0) this.#byKey.delete(key);
    this.#changed(key);
  }

  /** @returns all writes */
  all(): readonly PendingWrite[] {
    return [...this.#byKey.values()].flatMap(({ writes }) => writes);
  }

  /**
   * @param base the mirror's entry
   * @returns the entry to show: the same object as long as neither the mirror's entry nor the writes change
   */
  shown(key: string, base: Entry | undefined): OptimisticEntry | undefined {
    const found = this.#byKey.get(key);
    if (found === undefined) return base;
    if (found.base !== base) found.applied = 0;
    if (found.applied === 0) found.shown = found.base = base;
    const versionOf = (version: number): number => this.versionOf(version) ?? version;
    // Of many patches of a large value only the new ones take time.
    for (const write of found.writes.slice(found.applied)) {
      found.shown = withWrite(found.shown, write, versionOf);
    }
    found.applied = found.writes.length;
    return found.shown;
  }

  /**
   * @param version one that was shown
   * @returns the version that the node has; null: it is that of a write which did not happen
   */
  versionOf(version: number): number | null | undefined {
    return version < 0 ? this.#versions.get(-version) : version;
  }

  /** @param applied number of the writes whose effect is known */
  #changed(key: string, applied = 0): void {
    const found = this.#byKey.get(key);
    if (found === undefined) {
      this.#ready.delete(key);
      return;
    }
    found.applied = applied;
    if (!found.writes.some(({ stage }) => stage === 'sent')) this.#ready.add(key);
  }

  #remember(id: number, version: number | null): void {
    this.#versions.set(id, version);
    const [oldest] = this.#versions.keys();
    if (this.#versions.size > MAX_REMEMBERED) this.#versions.delete(oldest as number);
  }
}

/** Whether no state of the entry can refuse the write, and nobody can abort it. A patch wants JSON. */
function isPlain(write: PendingWrite): boolean {
  return write.operation.kind !== 'patch' && !isConditional(write) && !write.signal;
}
