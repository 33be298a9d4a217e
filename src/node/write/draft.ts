/**
 * The state as a write turn will leave it: the head's, with what the turn has decided so far laid over it. Nothing of
 * it is real before the turn has been journaled.
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
import type { LookAhead } from '../head/look-ahead.ts';
import type { StreamHead } from '../head/stream-head.ts';

/**
 * The effects of one batch, in bytes: appending to a large value a thousand times travels as a thousand values. Followers
 * get them as one message, in which a byte can become six characters, and a string of V8 has less than 512 MiB.
 */
export const MAX_TRANSACTION_BYTES = 64 * 1024 * 1024;

/** The state that the turn begins with. */
type Below = Pick<StreamHead, 'offset' | 'expiry' | 'raw' | 'outline' | 'knowsAbove'>;
/** What the turn has made of an entry. The value is null if it is the one that the turn began with, and was not read. */
type Staged = Outline & { readonly value: Buffer | null };
/** A key and what stood there: undefined for nothing. */
type Undo = readonly [key: string, before: Staged | null | undefined];

export class TurnDraft implements Draft {
  readonly #head: Below;
  readonly #now: number;
  /** What was read of the keyspace file for the request that is decided now, if it still counts. */
  #ahead: LookAhead | null = null;
  readonly #encoder = new Encoder();
  readonly #start: number;
  /** What the turn has set, or (null) deleted: as far as somebody has looked. */
  #staged = new Map<string, Staged | null>();
  /** What came after that, with the ends. An import is not looked at: that spares a map of all its entries. */
  #unstaged: (readonly [SetCommand | DelCommand, number])[] = [];
  #flushed = false;
  /** In a transaction: what stood in `#staged` before each change. */
  #undo: Undo[] | null = null;
  #transactionLimit = Number.POSITIVE_INFINITY;
  #lookups = 0;
  #readBytes = 0;

  /** @param now milliseconds since 1970: one moment for the whole turn */
  constructor(head: Below, now: number) {
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

  /** How many times it had to ask what the turn began with. */
  get lookups(): number {
    return this.#lookups;
  }

  /** From now on another request is decided. @param ahead what was read of the keyspace file for it before the turn */
  begin(ahead: LookAhead | null): void {
    this.#ahead = ahead;
  }

  /** How many bytes of values were read. */
  get readBytes(): number {
    return this.#readBytes;
  }

  get(key: string): Entry | null {
    const entry = this.#raw(key);
    return isLive(entry, this.#now) ? entry : null;
  }

  outline(key: string): Outline | null {
    const outline = this.#outline(key);
    return isLive(outline, this.#now) ? outline : null;
  }

  has(key: string): boolean {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return isLive(staged, this.#now);
    if (this.#flushed) return false;
    const expiresAt = this.#expiryBelow(key);
    return expiresAt !== undefined && isLive({ expiresAt }, this.#now);
  }

  isDue(key: string): boolean {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged !== null && !isLive(staged, this.#now);
    if (this.#flushed) return false;
    const expiresAt = this.#expiryBelow(key);
    return expiresAt !== undefined && !isLive({ expiresAt }, this.#now);
  }

  add(command: Command): number {
    const later = command.kind === 'set' || command.kind === 'del';
    // The others may have to read the keyspace file, and if that fails nothing may be encoded; nor staged what cannot be.
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

  /** @returns when the entry that the turn began with expires; undefined: there was none */
  #expiryBelow(key: string): number | null | undefined {
    this.#lookups += 1;
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
        // A transaction that fails goes back to the map that it found, and undoes what came before this.
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

  /** What the turn has left of the key so far, expired or not. */
  #raw(key: string): Entry | null {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged === null ? null : this.#whole(key, staged);
    return this.#flushed ? null : this.#below(key);
  }

  #whole(key: string, { value, version, expiresAt }: Staged): Entry {
    return { value: value ?? (this.#below(key) as Entry).value, version, expiresAt };
  }

  #below(key: string): Entry | null {
    this.#lookups += 1;
    const entry = this.#head.raw(key, this.#ahead);
    if (entry !== null) this.#readBytes += entry.value.length;
    return entry;
  }

  /** Like `#raw`, without reading the value. */
  #outline(key: string): Outline | null {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged;
    if (this.#flushed) return null;
    this.#lookups += 1;
    return this.#head.outline(key, this.#ahead);
  }

  #change(key: string, expiresAt: number | null): void {
    const entry = this.#readable(key);
    if (entry !== null) this.#put(key, { ...entry, expiresAt });
  }

  /**
   * The entry that the turn began with. The overlay is given its value with the new expiry: what only the file has is read before
   * anything is encoded, because that can fail; what the overlay has cannot.
   */
  #readable(key: string): Staged | null {
    this.#stageAll();
    const staged = this.#staged.get(key);
    if (staged !== undefined) return staged;
    if (this.#flushed) return null;
    if (!this.#head.knowsAbove(key)) return stagedOf(this.#below(key));
    const outline = this.#outline(key);
    if (outline === null) return null;
    // The overlay copies it, at most once for each key.
    this.#readBytes += outline.size;
    return { ...outline, value: null };
  }
}

function stagedOf(entry: Entry | null): Staged | null {
  return entry === null ? null : { ...entry, size: entry.value.length };
}
