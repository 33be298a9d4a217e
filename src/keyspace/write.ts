/**
 * Write requests of clients and their decisions. The write turn decides a request on the newest state; only its effects
 * enter the stream: an increment becomes a SET, an expiry in seconds an absolute time.
 */
import { type Command, type DelCommand, MAX_VALUE_BYTES, type SetCommand } from '../stream/command.ts';
import { type Condition, isConditional, requireCondition } from './condition.ts';
import type { Entry, Outline } from './entry.ts';
import { atOnce, JsonError, type Steps } from './json/json.ts';
import { byteLengthOf, joined, mergeSteps, type Patch } from './json/merge-patch.ts';
import { Refusal } from './refusal.ts';

export { MAX_VALUE_BYTES };

/** One operation on one key. Times are absolute, in milliseconds since 1970. */
export type Operation =
  | {
      readonly kind: 'set';
      readonly key: string;
      readonly value: Buffer;
      readonly expiresAt: number | null;
      readonly condition: Condition;
    }
  | { readonly kind: 'delete'; readonly key: string; readonly condition: Condition }
  | { readonly kind: 'increment'; readonly key: string; readonly by: bigint; readonly condition: Condition }
  | { readonly kind: 'append'; readonly key: string; readonly value: Buffer; readonly condition: Condition }
  | {
      readonly kind: 'merge-patch';
      readonly key: string;
      readonly patch: Patch;
      /** Memory of the patch in bytes. */
      readonly patchBytes: number;
      readonly condition: Condition;
      /** The patched value, computed before the write turn. It is used only if the entry still has the old value. */
      readonly prepared?: PreparedPatch;
    }
  | {
      readonly kind: 'expire';
      readonly key: string;
      readonly expiresAt: number;
      readonly condition: Condition;
    }
  | { readonly kind: 'persist'; readonly key: string; readonly condition: Condition }
  | { readonly kind: 'get'; readonly key: string };

export interface PreparedPatch {
  readonly before: Buffer;
  /** The new value, or the reason why there is none. */
  readonly after: Buffer | Refusal;
}

export type WriteRequest =
  | Operation
  /** Several operations in order, all or nothing; each sees the effects of the earlier ones. */
  | { readonly kind: 'batch'; readonly operations: readonly Operation[] }
  /** Entries of an import, set whatever was there before. */
  | { readonly kind: 'load'; readonly commands: readonly (SetCommand | DelCommand)[] }
  /** Deletes those of the keys that exist. */
  | { readonly kind: 'delete-many'; readonly keys: readonly string[] }
  /** Deletes those of the keys that have expired. */
  | { readonly kind: 'expire-due'; readonly keys: readonly string[] }
  | { readonly kind: 'flush-all' };

/** The result of one operation. */
export interface OperationResult {
  /** Whether the key existed before. */
  readonly existed: boolean;
  /** The entry after the operation, without its value if the operation neither read nor set it; null: there is none. */
  readonly entry: (Omit<Entry, 'value'> & { readonly value: Buffer | null }) | null;
}

export interface WriteOutcome {
  /** Result of each operation, in order. */
  readonly results: readonly OperationResult[];
  /** Number of entries that were set or deleted. */
  readonly count: number;
}

/** The state as this write turn will leave it, including all decisions so far. */
export interface Draft {
  /** Returns the entry if it exists and has not expired. */
  get(key: string): Entry | null;
  /** Like `get`, with the size of the value, which is not read. */
  outline(key: string): Outline | null;
  /** Whether there is an entry that has not expired. */
  has(key: string): boolean;
  /** Bytes of old values that were read for all decisions so far. */
  readonly readBytes: number;
  /** Whether the key's entry has expired and can be deleted. */
  isDue(key: string): boolean;
  /**
   * Adds an effect.
   * @returns the offset at its end, which is the version of an entry that it sets
   */
  add(command: Command): number;
  /** Runs `body` as one transaction; if it throws, none of its effects stay. */
  transaction<T>(body: () => T): T;
}

/**
 * Largest sum of values that a batch may read, and that its `get`s may return, in bytes; both are in memory at once.
 */
export const MAX_BATCH_READ_BYTES = 64 * 1024 * 1024;
const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);
const NONE: readonly OperationResult[] = [];

/**
 * Decides one request and adds its effects to the draft.
 * @throws Refusal: the draft is unchanged; for a batch, `extra.op` is the index of the failed operation
 */
export function decideWrite(request: WriteRequest, draft: Draft): WriteOutcome {
  switch (request.kind) {
    case 'batch':
      return draft.transaction(() => decideBatch(request.operations, draft));
    case 'load':
      for (const command of request.commands) {
        // An entry that had expired before it came replaces what is there. Where nothing is, nothing changes.
        if (command.kind === 'set') draft.add(command);
        else
          deleteAll(
            command.keys.filter((key) => draft.has(key) || draft.isDue(key)),
            draft,
          );
      }
      return { results: NONE, count: request.commands.length };
    case 'delete-many':
      return deleteAll(
        request.keys.filter((key) => draft.has(key)),
        draft,
      );
    case 'expire-due':
      return deleteAll(
        request.keys.filter((key) => draft.isDue(key)),
        draft,
      );
    case 'flush-all':
      draft.add({ kind: 'flush-all' });
      return { results: NONE, count: 0 };
    default: {
      const result = operate(request, draft);
      return { results: [result], count: 1 };
    }
  }
}

function decideBatch(operations: readonly Operation[], draft: Draft): WriteOutcome {
  let answerBytes = 0;
  const begun = draft.readBytes;
  const results = operations.map((operation, index) => {
    try {
      const result = operate(operation, draft);
      if (operation.kind === 'get') answerBytes += result.entry?.value?.length ?? 0;
      if (Math.max(answerBytes, draft.readBytes - begun) > MAX_BATCH_READ_BYTES) throw readsTooMuch();
      return result;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      throw ofOperation(index, error);
    }
  });
  return { results, count: operations.length };
}

/**
 * Decides a batch of only `get`s, which writes nothing.
 * @param get returns the entry, or null
 * @throws Refusal BATCH_TOO_LARGE
 */
export function decideReads(
  operations: readonly Operation[],
  get: (key: string) => Entry | null,
): readonly OperationResult[] {
  let answerBytes = 0;
  return operations.map(({ key }, index) => {
    const entry = get(key);
    answerBytes += entry?.value.length ?? 0;
    requireReadable(answerBytes, index);
    return { existed: entry !== null, entry };
  });
}

/**
 * @param bytes values that the operations up to this one read
 * @throws Refusal BATCH_TOO_LARGE
 */
export function requireReadable(bytes: number, index: number): void {
  if (bytes > MAX_BATCH_READ_BYTES) throw ofOperation(index, readsTooMuch());
}

function readsTooMuch(): Refusal {
  return new Refusal('BATCH_TOO_LARGE', `it reads more than ${MAX_BATCH_READ_BYTES} bytes`);
}

function ofOperation(index: number, { code, message, extra }: Refusal): Refusal {
  return new Refusal(code, `operation ${index}: ${message}`, { ...extra, op: index });
}

function deleteAll(keys: readonly string[], draft: Draft): WriteOutcome {
  if (keys.length > 0) draft.add({ kind: 'del', keys });
  return { results: NONE, count: keys.length };
}

function operate(operation: Operation, draft: Draft): OperationResult {
  if (operation.kind === 'get') {
    const entry = draft.get(operation.key);
    return { existed: entry !== null, entry };
  }
  const { key, condition } = operation;
  // Without a condition, most operations need not read the old entry.
  if (isConditional(condition)) requireCondition(condition, key, draft.outline(key));
  switch (operation.kind) {
    case 'set': {
      const existed = draft.has(key);
      const { value, expiresAt } = operation;
      return { existed, entry: put(draft, key, value, expiresAt) };
    }
    case 'delete': {
      const existed = draft.has(key);
      if (existed) draft.add({ kind: 'del', keys: [key] });
      return { existed, entry: null };
    }
    case 'increment': {
      const entry = draft.get(key);
      const value = incremented(key, entry, operation.by);
      return changed(draft, key, entry, Buffer.from(value.toString(), 'latin1'));
    }
    case 'append': {
      const entry = draft.get(key);
      const { value } = operation;
      const length = (entry?.value.length ?? 0) + value.length;
      if (length > MAX_VALUE_BYTES) throw tooLarge(key);
      return changed(draft, key, entry, entry === null ? value : Buffer.concat([entry.value, value]));
    }
    case 'merge-patch': {
      const entry = draft.get(key);
      if (entry === null) throw notFound(key);
      return changed(draft, key, entry, patched(entry, operation));
    }
    case 'expire':
    case 'persist':
      return setExpiry(draft, key, operation.kind === 'expire' ? operation.expiresAt : null);
  }
}

/** Sets a new value and keeps the expiry, like Redis's INCR and APPEND. */
function changed(draft: Draft, key: string, before: Entry | null, value: Buffer): OperationResult {
  return { existed: before !== null, entry: put(draft, key, value, before?.expiresAt ?? null) };
}

function put(draft: Draft, key: string, value: Buffer, expiresAt: number | null): Entry {
  return { value, version: draft.add({ kind: 'set', key, value, expiresAt }), expiresAt };
}

function setExpiry(draft: Draft, key: string, expiresAt: number | null): OperationResult {
  const before = draft.outline(key);
  if (before === null) return { existed: false, entry: null };
  if (before.expiresAt !== expiresAt) {
    draft.add(expiresAt === null ? { kind: 'persist', key } : { kind: 'expire-at', key, expiresAt });
  }
  return { existed: true, entry: { value: null, version: before.version, expiresAt } };
}

/** Adds like Redis's INCRBY: a value counts as an integer only in the form that INCRBY writes. */
function incremented(key: string, entry: Entry | null, by: bigint): bigint {
  const text = entry === null ? '0' : entry.value.subarray(0, 21).toString('latin1');
  if (!/^(?:0|-?[1-9]\d{0,18})$/.test(text)) throw notInteger(key);
  const before = BigInt(text);
  if (before > MAX_INT64 || before < MIN_INT64) throw notInteger(key);
  const after = before + by;
  if (after > MAX_INT64 || after < MIN_INT64) {
    // As below, the number is not told.
    throw new Refusal('INTEGER_OVERFLOW', `${JSON.stringify(key)} and ${by} have a sum of more than 64 bits`);
  }
  return after;
}

function patched(
  entry: Entry,
  { key, patch, prepared }: Extract<Operation, { kind: 'merge-patch' }>,
): Buffer {
  if (prepared === undefined || !prepared.before.equals(entry.value)) {
    return atOnce(patchedSteps(key, entry.value, patch));
  }
  if (prepared.after instanceof Refusal) throw prepared.after;
  return prepared.after;
}

/**
 * Computes a patched value.
 * @throws Refusal NOT_JSON, VALUE_TOO_LARGE
 */
export function* patchedSteps(key: string, value: Buffer, patch: Patch): Steps<Buffer> {
  try {
    const pieces = yield* mergeSteps(value, patch);
    const length = byteLengthOf(pieces);
    if (length > MAX_VALUE_BYTES) throw tooLarge(key);
    return joined(pieces);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    // The detail of the error quotes the value, and whoever writes may have no right to read it.
    throw new Refusal('NOT_JSON', `the value of ${JSON.stringify(key)} is not JSON`);
  }
}

function notFound(key: string): Refusal {
  return new Refusal('NOT_FOUND', `there is no key ${JSON.stringify(key)}`);
}

function notInteger(key: string): Refusal {
  return new Refusal('NOT_INTEGER', `the value of ${JSON.stringify(key)} is not a 64-bit integer`);
}

/** How long the value is now is not told: whoever writes may have no right to read it. */
function tooLarge(key: string): Refusal {
  return new Refusal(
    'VALUE_TOO_LARGE',
    `the value of ${JSON.stringify(key)} would have more than the ${MAX_VALUE_BYTES} bytes that are allowed`,
  );
}
