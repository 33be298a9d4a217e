/**
 * Reads the keyspace file for the keys of a bulk request before the request has its turn, a few milliseconds at a time.
 * Thousands of lookups in the turn itself would delay all clients, most of all when the file is not in memory.
 *
 * The turn uses an earlier read only for keys that the overlay does not know, and only if the applier has changed nothing in
 * the file since (`StreamHead.appliedCount`); until then the overlay holds everything newer than the file. So the turn
 * decides as if it had read the file itself.
 */

import { isConditional } from '../../../keyspace/condition.ts';
import type { Entry } from '../../../keyspace/entry.ts';
import type { Operation, WriteRequest } from '../../../keyspace/write.ts';
import { StorageError } from '../../ports/failures.ts';
import type { Turns } from '../../turns.ts';
import type { StreamHead } from '../stream-head.ts';

/** Largest value, in bytes, that is kept until the turn. The turn reads larger values itself. */
const MAX_VALUE_BYTES = 4 * 1024;
/** Limit for the keys and values read ahead for one request, in bytes. The turn reads the rest itself. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Memory of a key beside its value, in bytes, roughly. */
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

  /** Whether the reading ahead has finished. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Whether the turn may use the entries read ahead. */
  counts({ appliedCount }: Pick<Head, 'appliedCount'>): boolean {
    return appliedCount === this.#appliedCount;
  }

  /** @returns the file's entry, or null if there is none; undefined: the key was not read */
  entry(key: string): Entry | null | undefined {
    return this.#entries.get(key);
  }

  /** @returns whether the expiry of the key was read */
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
        // The file has changed, so neither earlier nor later reads count.
        if (!this.counts(head) || bytes >= MAX_BYTES) break;
        if (head.knowsAbove(key)) continue;
        bytes += KEY_BYTES;
        if (isWhole) {
          if (this.#entries.has(key)) continue;
          const entry = head.below(key);
          // The limit counts values that are read but not kept.
          bytes += entry?.value.length ?? 0;
          if ((entry?.value.length ?? 0) <= MAX_VALUE_BYTES) this.#entries.set(key, entry);
        } else this.#expiries.set(key, head.expiryBelow(key));
      }
    } catch (error) {
      // The turn gets the same error and reports it to the client.
      if (!(error instanceof StorageError)) throw error;
    } finally {
      this.#isDone = true;
    }
  }
}

/** @returns the largest number of keys that the turn looks up for the request */
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

/** Yields the keys that a request asks for, and whether it needs the whole entry or only its expiry. */
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
