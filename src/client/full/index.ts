/**
 * psyncd/client/full: a `Client` for programs that need more than a page does: several nodes, time-outs, repetitions, pages of
 * entries, import and export.
 */
export type * from '../answers.ts';
export { ApiError, type ErrorCode } from '../api-error.ts';
export type { Entry, Value } from '../mirror/entry.ts';
export type { ByteStream, Fetch, Signal, SocketClass } from '../platform.ts';
export type * from '../request/options.ts';
export type { Token, Transport } from '../request/token.ts';
export {
  type BatchOperation,
  type BatchResult,
  type ReplicaAnswer,
  type SetOptions,
  UnsendableKey,
} from '../rest.ts';
export { Client, type DiffQuery, type PageOptions } from './client.ts';
export type { FullCallOptions, FullClientOptions } from './full-options.ts';
