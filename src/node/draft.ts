/**
 * The state as a write turn will leave it: the head's, with what the turn has decided so far laid over it. Nothing of
 * it is real before the turn has been journaled.
 */
import { type Entry, isLive } from '../keyspace/entry.ts';
import { Refusal } from '../keyspace/refusal.ts';
import type { Draft } from '../keyspace/write.ts';
import { assertNever, type Command, type Run } from '../stream/command.ts';
import { Encoder } from '../stream/encoder.ts';
import type { StreamHead } from './stream-head.ts';

/**
 * The effects of one batch, in bytes: appending to a large value a thousand times travels as a thousand values. Followers
 * get them as one message, in which a byte can become six characters, and a string of V8 has less than 512 MiB.
 */
export const MAX_TRANSACTION_BYTES = 64 * 1024 * 1024;

export class TurnDraft implements Draft {
  readonly #head: StreamHead;
  readonly #now: number;
  readonly #encoder = new Encoder();
  readonly #start: number;
  /** What the turn has set, or (null) deleted. */
  #staged = new Map<string, Entry | null>();
  #flushed = false;
  #transactionLimit = Number.POSITIVE_INFINITY;

  /** @param now milliseconds since 1970: one moment for the whole turn */
  constructor(head: StreamHead, now: number) {
    this.#head = head;
    this.#now = now;
    this.#start = head.offset;
  }

  /** Where the head will stand. */
  get end(): number {
    return this.#start + this.#encoder.length;
  }

  /** How many bytes the effects take so far. */
  get bytes(): number {
    return this.#encoder.length;
  }

  get(key: string): Entry | null {
    const entry = this.#raw(key);
    return isLive(entry, this.#now) ? entry : null;
  }

  has(key: string): boolean {
    const staged = this.#staged.get(key);
    if (staged !== undefined) return isLive(staged, this.#now);
    return !this.#flushed && this.#head.has(key, this.#now);
  }

  isDue(key: string): boolean {
    const entry = this.#raw(key);
    return entry !== null && !isLive(entry, this.#now);
  }

  add(command: Command): number {
    const end = this.#start + this.#encoder.add(command);
    if (this.#encoder.length > this.#transactionLimit) {
      throw new Refusal('BATCH_TOO_LARGE', `its effects have more than ${MAX_TRANSACTION_BYTES} bytes`);
    }
    switch (command.kind) {
      case 'set':
        this.#staged.set(command.key, { value: command.value, version: end, expiresAt: command.expiresAt });
        break;
      case 'del':
        for (const key of command.keys) this.#staged.set(key, null);
        break;
      case 'expire-at':
        this.#change(command.key, command.expiresAt);
        break;
      case 'persist':
        this.#change(command.key, null);
        break;
      case 'flush-all':
        this.#staged.clear();
        this.#flushed = true;
        break;
      default:
        assertNever(command);
    }
    return end;
  }

  transaction<T>(body: () => T): T {
    const mark = this.#encoder.mark();
    const [staged, flushed] = [new Map(this.#staged), this.#flushed];
    this.#encoder.beginTransaction();
    const begun = this.#encoder.length;
    this.#transactionLimit = begun + MAX_TRANSACTION_BYTES;
    try {
      const result = body();
      if (this.#encoder.length === begun) this.#encoder.rollback(mark);
      else this.#encoder.endTransaction();
      return result;
    } catch (error) {
      this.#encoder.rollback(mark);
      this.#staged = staged;
      this.#flushed = flushed;
      throw error;
    } finally {
      this.#transactionLimit = Number.POSITIVE_INFINITY;
    }
  }

  finish(): Run {
    return this.#encoder.finish();
  }

  #raw(key: string): Entry | null {
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged;
    return this.#flushed ? null : this.#head.raw(key);
  }

  #change(key: string, expiresAt: number | null): void {
    const entry = this.#raw(key);
    if (entry !== null) this.#staged.set(key, { ...entry, expiresAt });
  }
}
