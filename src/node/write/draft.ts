/**
 * The state as a write turn will leave it: the head's state, and over it the effects that the turn has decided so far. Nobody
 * else sees a draft. The effects take place when the head commits the finished run.
 */
import { type Entry, isLive, type Outline } from '../../keyspace/entry.ts';
import { Refusal } from '../../keyspace/refusal.ts';
import type { Draft } from '../../keyspace/write.ts';
import {
  assertNever,
  type Command,
  type DelCommand,
  type Run,
  type SetCommand,
} from '../../stream/command.ts';
import { checkCommand, Encoder } from '../../stream/encoder.ts';
import type { LookAhead } from '../head/keyspace/look-ahead.ts';
import type { StreamHead } from '../head/stream-head.ts';

/**
 * The largest size of the effects of one batch, in bytes. A small batch can have large effects: a thousand appends to a large
 * value become a thousand SETs of the whole value. Followers get the effects as one message, in which a byte can become six
 * characters, and a string of V8 has less than 512 MiB.
 */
export const MAX_TRANSACTION_BYTES = 64 * 1024 * 1024;

/** The head, as the state below the draft. */
type Below = Pick<StreamHead, 'offset' | 'expiry' | 'raw' | 'outline' | 'knowsAbove'>;
/** An entry that the turn has changed. `value` null: the entry still has its value from before the turn, which was not read. */
type Staged = Outline & { readonly value: Buffer | null };
/** A key, and its place in `#staged` before a change; undefined: it had none. */
type Undo = readonly [key: string, before: Staged | null | undefined];

export class TurnDraft implements Draft {
  readonly #head: Below;
  readonly #now: number;
  /** The entries that were read ahead for the present request; null: there are none, or they no longer count. */
  #ahead: LookAhead | null = null;
  readonly #encoder = new Encoder();
  /** Offset of the head before the turn. */
  readonly #start: number;
  /** The entries that the turn has set, and null for each key that it has deleted; without those in `#unstaged`. */
  #staged = new Map<string, Staged | null>();
  /**
   * SETs and DELs after those in `#staged`, each with the offset of its end. They move to `#staged` when a request looks a key
   * up. An import of live entries looks nothing up, so it does not pay for a map of all its entries.
   */
  #unstaged: (readonly [SetCommand | DelCommand, number])[] = [];
  /** Whether the turn has deleted all entries, so that the state below does not count. */
  #flushed = false;
  /** The places in `#staged` before each change of the present transaction; null: there is no transaction. */
  #undo: Undo[] | null = null;
  /** Length of the effects, in bytes, at which the present transaction is too large. */
  #transactionLimit = Number.POSITIVE_INFINITY;
  #lookups = 0;
  #readBytes = 0;

  /** @param now milliseconds since 1970; entries expire at this moment for the whole turn */
  constructor(head: Below, now: number) {
    this.#head = head;
    this.#now = now;
    this.#start = head.offset;
  }

  /** Offset of the head after the effects so far. */
  get end(): number {
    return this.#start + this.#encoder.length;
  }

  /** Length of the effects so far, in bytes. */
  get bytes(): number {
    return this.#encoder.length;
  }

  /**
   * Number of times that requests have looked a key up, also one that the turn has changed already: the number tells nobody whether the
   * writes of others name the same keys.
   */
  get lookups(): number {
    return this.#lookups;
  }

  /** Begins the next request. @param ahead the entries that were read ahead for it; null: there are none that count */
  begin(ahead: LookAhead | null): void {
    this.#ahead = ahead;
  }

  /** Bytes of values that the turn has read from the head's state so far. */
  get readBytes(): number {
    return this.#readBytes;
  }

  get(key: string): Entry | null {
    this.#lookups += 1;
    const entry = this.#raw(key);
    return isLive(entry, this.#now) ? entry : null;
  }

  outline(key: string): Outline | null {
    this.#lookups += 1;
    const outline = this.#outline(key);
    return isLive(outline, this.#now) ? outline : null;
  }

  has(key: string): boolean {
    this.#lookups += 1;
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return isLive(staged, this.#now);
    if (this.#flushed) return false;
    const expiresAt = this.#expiryBelow(key);
    return expiresAt !== undefined && isLive({ expiresAt }, this.#now);
  }

  isDue(key: string): boolean {
    this.#lookups += 1;
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged !== null && !isLive(staged, this.#now);
    if (this.#flushed) return false;
    const expiresAt = this.#expiryBelow(key);
    return expiresAt !== undefined && !isLive({ expiresAt }, this.#now);
  }

  add(command: Command): number {
    const later = command.kind === 'set' || command.kind === 'del';
    // The other commands may have to read the keyspace file, which can fail, so they are staged before they are encoded. They are
    // checked before that, because a command that cannot be encoded must not be staged.
    if (!later) {
      checkCommand(command);
      this.#stage(command);
    }
    const end = this.#start + this.#encoder.add(command);
    if (this.#encoder.length > this.#transactionLimit) {
      throw new Refusal('BATCH_TOO_LARGE', `its effects have more than ${MAX_TRANSACTION_BYTES} bytes`);
    }
    if (later) this.#unstaged.push([command, end]);
    return end;
  }

  transaction<T>(body: () => T): T {
    this.#stageAll();
    const mark = this.#encoder.mark();
    const [staged, flushed] = [this.#staged, this.#flushed];
    const undo: Undo[] = [];
    this.#undo = undo;
    this.#encoder.beginTransaction();
    const begun = this.#encoder.length;
    this.#transactionLimit = begun + MAX_TRANSACTION_BYTES;
    try {
      const result = body();
      this.#stageAll();
      if (this.#encoder.length === begun) this.#encoder.rollback(mark);
      else this.#encoder.endTransaction();
      return result;
    } catch (error) {
      this.#encoder.rollback(mark);
      this.#unstaged = [];
      this.#staged = staged;
      this.#flushed = flushed;
      for (const [key, before] of undo.reverse()) {
        if (before === undefined) staged.delete(key);
        else staged.set(key, before);
      }
      throw error;
    } finally {
      this.#undo = null;
      this.#transactionLimit = Number.POSITIVE_INFINITY;
    }
  }

  finish(): Run {
    return this.#encoder.finish();
  }

  /** @returns the expiry of the entry in the head's state, in milliseconds since 1970; null: never; undefined: there is no entry */
  #expiryBelow(key: string): number | null | undefined {
    return this.#head.expiry(key, this.#ahead);
  }

  #stageAll(): void {
    if (this.#unstaged.length === 0) return;
    const unstaged = this.#unstaged;
    this.#unstaged = [];
    for (const [command, end] of unstaged) {
      if (command.kind === 'del') for (const key of command.keys) this.#put(key, null);
      else {
        const { key, value, expiresAt } = command;
        this.#put(key, { value, size: value.length, version: end, expiresAt });
      }
    }
  }

  #stage(command: Exclude<Command, SetCommand | DelCommand>): void {
    switch (command.kind) {
      case 'expire-at':
        this.#change(command.key, command.expiresAt);
        return;
      case 'persist':
        this.#change(command.key, null);
        return;
      case 'flush-all':
        // A transaction that fails restores the old map and undoes the changes before this command. Later changes are made in the
        // new map, so they need no undo.
        this.#unstaged = [];
        this.#staged = new Map();
        this.#undo = null;
        this.#flushed = true;
        return;
      default:
        assertNever(command);
    }
  }

  #put(key: string, entry: Staged | null): void {
    if (this.#undo !== null) this.#undo.push([key, this.#staged.get(key)]);
    this.#staged.set(key, entry);
  }

  /** The entry after the effects so far, even if it has expired. */
  #raw(key: string): Entry | null {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged === null ? null : this.#whole(key, staged);
    return this.#flushed ? null : this.#below(key);
  }

  #whole(key: string, { value, version, expiresAt }: Staged): Entry {
    return { value: value ?? (this.#below(key) as Entry).value, version, expiresAt };
  }

  /** The entry in the head's state, even if it has expired. */
  #below(key: string): Entry | null {
    const entry = this.#head.raw(key, this.#ahead);
    if (entry !== null) this.#readBytes += entry.value.length;
    return entry;
  }

  /** Like `#raw`, with the size of the value instead of the value, which is not read. */
  #outline(key: string): Outline | null {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged;
    if (this.#flushed) return null;
    return this.#head.outline(key, this.#ahead);
  }

  #change(key: string, expiresAt: number | null): void {
    this.#lookups += 1;
    const entry = this.#readable(key);
    if (entry !== null) this.#put(key, { ...entry, expiresAt });
  }

  /**
   * The entry, in a form that lets the overlay take it with another expiry. The overlay needs the value for that. A value that only
   * the keyspace file has is read now, before anything is encoded, because the read can fail; a value in the overlay stays there.
   */
  #readable(key: string): Staged | null {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged;
    if (this.#flushed) return null;
    if (!this.#head.knowsAbove(key)) return stagedOf(this.#below(key));
    const outline = this.#outline(key);
    if (outline === null) return null;
    // The overlay copies the value when it takes the new expiry, once for each key of a turn at most.
    this.#readBytes += outline.size;
    return { ...outline, value: null };
  }
}

function stagedOf(entry: Entry | null): Staged | null {
  return entry === null ? null : { ...entry, size: entry.value.length };
}
