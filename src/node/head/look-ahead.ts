/**
 * Reads what the keyspace file says of the keys of a bulk request before the request has its turn, a few milliseconds at a
 * time: in the turn itself thousands of lookups would keep everybody waiting, the more so if the file is not in memory.
 *
 * What was read counts in the turn for keys that the overlay does not know, and only if the overlay has given nothing to the
 * file since then (`StreamHead.appliedCount`): until that, whatever is newer than the file is in the overlay. So the turn
 * decides the same as if it had read the file itself.
 */

import { isConditional } from '../../keyspace/condition.ts';
import type { Entry } from '../../keyspace/entry.ts';
import type { Operation, WriteRequest } from '../../keyspace/write.ts';
import { StorageError } from '../ports.ts';
import type { Turns } from '../turns.ts';
import type { StreamHead } from './stream-head.ts';

/** A value up to so many bytes is kept until the turn; larger ones are read in the turn, where they are cheap for what they are. */
const MAX_VALUE_BYTES = 4 * 1024;
/** What the keys and values of one request that are read ahead take together at most, in bytes; the rest is read in the turn. */
const MAX_BYTES = 16 * 1024 * 1024;
/** What a key takes beside its value, in bytes, roughly. */
const KEY_BYTES = 128;

type Head = Pick<StreamHead, 'appliedCount' | 'knowsAbove' | 'below' | 'expiryBelow'>;

export class LookAhead {
  readonly #request: WriteRequest;
  readonly #entries = new Map<string, Entry | null>();
  readonly #expiries = new Map<string, number | null | undefined>();
  #appliedCount = -1;
  #isDone = false;

  constructor(request: WriteRequest) {
    this.#request = request;
  }

  /** Everything has been read that will be. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Whether what was read still counts. */
  counts({ appliedCount }: Pick<Head, 'appliedCount'>): boolean {
    return appliedCount === this.#appliedCount;
  }

  /** @returns what the file says of the entry; undefined: that was not read */
  entry(key: string): Entry | null | undefined {
    return this.#entries.get(key);
  }

  /** @returns whether it was read when the entry expires, or that there is none */
  hasExpiry(key: string): boolean {
    return this.#expiries.has(key);
  }

  /** @returns when the entry expires (null: never); undefined: there is none */
  expiry(key: string): number | null | undefined {
    return this.#expiries.get(key);
  }

  async run(head: Head, turns: Turns): Promise<void> {
    this.#appliedCount = head.appliedCount;
    let bytes = 0;
    try {
      for (const [key, isWhole] of lookupsOf(this.#request)) {
        if (turns.isOver) await turns.pass();
        // What was read before counts no more then, and nor would what comes now.
        if (!this.counts(head) || bytes >= MAX_BYTES) break;
        if (head.knowsAbove(key)) continue;
        bytes += KEY_BYTES;
        if (isWhole) {
          if (this.#entries.has(key)) continue;
          const entry = head.below(key);
          // A value that is not kept was read all the same.
          bytes += entry?.value.length ?? 0;
          if ((entry?.value.length ?? 0) <= MAX_VALUE_BYTES) this.#entries.set(key, entry);
        } else this.#expiries.set(key, head.expiryBelow(key));
      }
    } catch (error) {
      // The turn finds the same, and says so to the client.
      if (!(error instanceof StorageError)) throw error;
    } finally {
      this.#isDone = true;
    }
  }
}

/** @returns how many keys the request has to be looked up for, at most */
export function lookupCount(request: WriteRequest): number {
  switch (request.kind) {
    case 'batch':
      return request.operations.length;
    case 'delete-many':
    case 'expire-due':
      return request.keys.length;
    default:
      return 0;
  }
}

/** The keys that a request asks for, and whether it wants the whole entry or only when it expires. */
function* lookupsOf(request: WriteRequest): Generator<readonly [key: string, isWhole: boolean]> {
  if (request.kind === 'batch') {
    for (const operation of request.operations) yield [operation.key, wantsEntry(operation)];
  } else if (request.kind === 'delete-many' || request.kind === 'expire-due') {
    for (const key of request.keys) yield [key, false];
  }
}

function wantsEntry(operation: Operation): boolean {
  const { kind } = operation;
  return (kind !== 'set' && kind !== 'delete') || isConditional(operation.condition);
}
