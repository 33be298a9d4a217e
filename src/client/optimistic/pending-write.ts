/** A write that is shown before the mirror has it, and what its key shows meanwhile. */

import { own } from '../event.ts';
import { type Entry, sameValue, textOrBytes, type Value } from '../mirror/entry.ts';
import type { Signal } from '../platform.ts';
import type { Condition, SetOptions } from '../rest.ts';
import { mergePatch } from './merge-patch.ts';

export type Operation =
  | { readonly kind: 'set'; readonly value: Value; readonly ttl: SetOptions['ttl'] }
  | { readonly kind: 'delete' }
  | { readonly kind: 'patch'; readonly patch: unknown };

/** What the node says of a write that it has carried out. */
export interface Accepted {
  /** Position of the write in the stream. */
  readonly position: string;
  /** The entry's version; undefined: it was deleted. */
  readonly version?: number | undefined;
}

/** An entry of a mirror, or what a pending write makes of it. */
export interface OptimisticEntry extends Entry {
  /**
   * Whether the mirror does not have it yet. Until the node has carried the write out, `version` is negative: it names
   * the write, so that the condition `ifVersion` of a later one holds if nothing has come between.
   */
  readonly isPending?: true;
}

export interface PendingWrite {
  /** Counts from 1. */
  readonly id: number;
  readonly key: string;
  readonly operation: Operation;
  readonly condition: Condition;
  /** Milliseconds since 1970. */
  readonly madeAt: number;
  /** That of the write whose place this one takes, if it takes one. */
  done: PromiseWithResolvers<Accepted>;
  readonly signal: Signal | undefined;
  stage: 'waiting' | 'sent' | 'accepted' | 'over';
  accepted: Accepted | null;
}

/** Whether only some state of the entry lets the write happen. */
export function isConditional({ condition }: PendingWrite): boolean {
  return condition.ifAbsent === true || condition.ifVersion !== undefined;
}

/**
 * Applies a pending write to what its key shows without it. A write whose condition does not hold changes nothing: the node
 * will refuse it.
 * @param versionOf the version that the node has, for one that names a pending write
 */
export function withWrite(
  entry: OptimisticEntry | undefined,
  write: PendingWrite,
  versionOf: (shown: number) => number,
): OptimisticEntry | undefined {
  const { ifAbsent, ifVersion } = write.condition;
  const holds =
    write.stage === 'accepted' ||
    ((!ifAbsent || entry === undefined) &&
      (ifVersion === undefined || versionOf(ifVersion) === (entry && versionOf(entry.version))));
  return holds ? Object.freeze(written(write, entry)) : entry;
}

function written(write: PendingWrite, entry: OptimisticEntry | undefined): OptimisticEntry | undefined {
  const { key, operation, accepted, id, madeAt } = write;
  const pending = { key, version: accepted?.version ?? -id, isPending: true } as const;
  switch (operation.kind) {
    case 'delete':
      return undefined;
    case 'set': {
      const { value, ttl } = operation;
      const expiresAt = ttl === undefined ? null : madeAt + ttl * 1_000;
      return { ...pending, value: typeof value === 'string' ? value : textOrBytes(own(value)), expiresAt };
    }
    case 'patch': {
      const value = patched(entry?.value, operation.patch);
      return value === undefined ? entry : { ...pending, value, expiresAt: entry?.expiresAt ?? null };
    }
  }
}

/** @returns whether the entry has what the write would make of it */
export function hasEffect(write: PendingWrite, entry: Entry | undefined): boolean {
  if (entry === undefined) return write.operation.kind === 'delete';
  const after = written(write, entry);
  // A patch that does not fit gives the entry itself.
  return after !== entry && after !== undefined && sameValue(after.value, entry.value);
}

/** @returns undefined: there is no value, or it is not JSON, and the node will refuse the patch */
function patched(value: Value | undefined, patch: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  try {
    return JSON.stringify(mergePatch(JSON.parse(value), patch));
  } catch {
    return undefined;
  }
}
