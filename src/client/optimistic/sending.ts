/** Sends one write until the node answers. */
import { BASE_RETRY_MS, MAX_RETRY_MS } from '../backoff.ts';
import { own } from '../event.ts';
import type { Value } from '../mirror/entry.ts';
import type { Signal } from '../platform.ts';
import type { BatchOperation, Condition, SetOptions } from '../rest.ts';
import { pause, unless } from '../within.ts';
import { type Accepted, isConditional, type PendingWrite } from './pending-write.ts';

/**
 * Statuses with which a node, or what is on the way to it, refuses for now, before it does anything, such as while two nodes
 * change their roles: the same request is right later.
 */
const LATER = /^(307|408|42[59]|50[37])$/;

/** What carries the writes out: a `Client` of the same nodes. */
export interface Writer {
  set(key: string, value: Value, options?: SetOptions & WithSignal): Promise<Accepted>;
  patch(key: string, patch: unknown, condition?: Condition & WithSignal): Promise<Accepted>;
  batch(ops: readonly BatchOperation[], options?: WithSignal): Promise<{ readonly position: string }>;
}
interface WithSignal {
  readonly signal?: Signal | undefined;
}

/**
 * Nobody knows what became of the write: the connection broke before the node answered, or the node of the mirror does not
 * know the history in which the write is.
 */
export class UncertainWriteError extends Error {
  override readonly name = 'UncertainWriteError';

  constructor(key: string, cause: unknown) {
    super(`nobody knows what became of the write of ${JSON.stringify(key)}`, { cause });
  }
}

export interface SendingOptions {
  readonly writer: Writer;
  /** Most time that one attempt may take, in milliseconds. */
  readonly answerMs: number;
  /** Called when an attempt has got no answer, or the node cannot take the write yet. */
  readonly failed: (key: string, error: unknown) => void;
  /** Resolves when there is a connection to the nodes. */
  readonly connected: (signal: Signal) => Promise<void>;
  /** Called with each request; the promise settles when the node has answered, or will not. */
  readonly requested: (key: string, request: Promise<unknown>) => unknown;
  /** Ends all requests. */
  readonly closing: Signal;
}

/**
 * Sends a write. Without an answer it is sent again, at first soon and then after up to 10 s, because the same set,
 * delete or merge patch may be carried out twice. A write with a condition is not: its second attempt would find what
 * the first one has left.
 * @param condition as the node has to see it
 * @param signal ends the attempts
 * @throws the error with which the node refuses; UncertainWriteError; the signal's reason
 */
export async function sent(
  write: PendingWrite,
  condition: Condition,
  { writer, answerMs, failed, connected, requested, closing }: SendingOptions,
  signal: Signal,
): Promise<Accepted> {
  for (let failures = 0; ; failures += 1) {
    await connected(signal);
    // Nobody knows what becomes of a request that is ended, so it gets more time than the write waits for it.
    const end = AbortSignal.any([closing, AbortSignal.timeout(2 * answerMs)]);
    const request = unless(end, attempt(writer, write, condition, end));
    requested(write.key, request);
    try {
      return await unless(AbortSignal.any([signal, AbortSignal.timeout(answerMs)]), request);
    } catch (error) {
      signal.throwIfAborted();
      const { status = 0, code, name } = error as { status?: number; code?: unknown; name?: unknown };
      const isFinal = !LATER.test(`${status}`);
      // With 4xx whoever on the way to the node answers refuses a request for good.
      const isAnswer = status > 0 && (code !== 'BAD_ANSWER' || (isFinal && status > 399 && status < 500));
      if (name === 'UnsendableKey' || (isAnswer && isFinal)) throw error;
      if (!isAnswer && isConditional(write)) throw new UncertainWriteError(write.key, error);
      failed(write.key, error);
    }
    const longest = Math.min(MAX_RETRY_MS, BASE_RETRY_MS * 2 ** failures);
    await pause(longest * (1 - Math.random() / 2), signal);
  }
}

async function attempt(
  writer: Writer,
  { key, operation }: PendingWrite,
  condition: Condition,
  signal: Signal,
): Promise<Accepted> {
  if (operation.kind === 'set') {
    const { value, ttl } = operation;
    return writer.set(key, own(value), { ...condition, ...(ttl !== undefined && { ttl }), signal });
  }
  if (operation.kind === 'patch') return writer.patch(key, operation.patch, { ...condition, signal });
  // The answer to a DELETE for a key that does not exist has no position.
  const { ifVersion } = condition;
  const { position } = await writer.batch(
    [{ op: 'delete', key, ...(ifVersion !== undefined && { ifVersion }) }],
    { signal },
  );
  return { position };
}
