/** Makes the calls of reads and writes from their options. */
import type { Call } from './exchange.ts';
import type { ReadOptions, WriteOptions } from './options.ts';

/** A read that may wait for a position. */
export function reading(path: string, { position, waitMs }: ReadOptions = {}, query?: Call['query']): Call {
  return { path, query: { ...query, position, timeout: waitMs } };
}

/**
 * A write to an entry, or to several.
 * @param call by default a POST; `json` is sent as the body
 */
export function writing(
  {
    json,
    type = json ? 'application/json' : 'application/octet-stream',
    ...call
  }: Call & { readonly json?: unknown; readonly type?: string },
  { acks, durable, ifAbsent, ifVersion, waitMs }: WriteOptions = {},
): Call {
  return {
    method: 'POST',
    body: JSON.stringify(json),
    ...call,
    query: { ...call.query, acks, durable, timeout: waitMs },
    headers: {
      'content-type': type,
      ...(ifVersion !== undefined && { 'if-match': `"${ifVersion}"` }),
      ...(ifAbsent && { 'if-none-match': '*' }),
    },
  };
}
